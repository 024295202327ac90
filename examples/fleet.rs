//! Runs one script in many running subhosts at once, from some threads each: `fleet SCRIPT NAME...`.
//!
//! The tree of subhosts is `$SUBHOST`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::thread;
use subhost::{Name, Subhost};

/// How many threads share the work.
const THREADS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let script = args.next().ok_or("usage: fleet SCRIPT NAME...")?;
    let names: Vec<Name> = args
        .map(|name| Name::new(&name))
        .collect::<Result<_, _>>()?;
    let tree = std::env::var_os("SUBHOST").map_or("/opt/subhost".into(), PathBuf::from);

    // Any thread may enter any subhost: the thread itself stays on the host all the time.
    let left = Mutex::new(names.iter());
    let next = || left.lock().ok()?.next();
    let work = || {
        std::iter::from_fn(next)
            .map(|name| (name, ask(&tree, name, &script)))
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
            // One that does not run is no reason to give up the others.
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}

fn ask(tree: &Path, name: &Name, script: &str) -> subhost::Result<Output> {
    let host = Subhost::new(tree, name, &[]);
    // A user of the subhost's own, by its own /etc/passwd; in a directory of its own.
    let mut command = host.command("sh");
    command.args(["-c", script]).user("root").dir("/");
    command.env("FLEET", name.as_str()).output()
}
