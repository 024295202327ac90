//! Runs a script in several running subhosts in parallel: `fleet SCRIPT NAME...`.
//!
//! The directory of the subhosts is `$SUBHOST`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::thread;
use subhost::{Name, Subhost};

/// The number of threads.
const THREADS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let script = args.next().ok_or("usage: fleet SCRIPT NAME...")?;
    let names: Vec<Name> = args
        .map(|name| Name::new(&name))
        .collect::<Result<_, _>>()?;
    let tree = std::env::var_os("SUBHOST").map_or("/opt/subhost".into(), PathBuf::from);

    // Any thread may run a command in any subhost. The thread itself stays in the namespaces of the host.
    let remaining = Mutex::new(names.iter());
    let next = || remaining.lock().ok()?.next();
    let work = || {
        std::iter::from_fn(next)
            .map(|name| (name, run_script(&tree, name, &script)))
            .collect::<Vec<_>>()
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(names.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let joined = threads.into_iter().filter_map(|thread| thread.join().ok());
        joined.flatten().collect()
    });

    found.sort_by_key(|(name, _)| name.as_str());
    for (name, result) in found {
        match result {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                text.lines().for_each(|line| println!("{name}: {line}"));
                if !output.status.success() {
                    println!("{name}: {}", output.status);
                }
            }
            // A subhost that does not run is reported, and the others are done.
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}

fn run_script(tree: &Path, name: &Name, script: &str) -> subhost::Result<Output> {
    let host = Subhost::new(tree, name, &[]);
    // User and directory are those of the subhost: the name is looked up in its /etc/passwd.
    let mut command = host.command("sh");
    command.args(["-c", script]).user("root").dir("/");
    command.env("FLEET", name.as_str()).output()
}
