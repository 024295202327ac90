//! Starts a subhost, runs a command in it, stops it, and prints the events of the library: `watch NAME`.
//!
//! The directory of the subhosts is `$SUBHOST`. `$SUBHOST_TOOLS` is the directory of subhost-init, if the
//! program is neither beside this one nor installed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use subhost::events::{self, Level, What};
use subhost::{Name, StartHow, Status, StopHow, Subhost};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: watch NAME")?;
    let tree = std::env::var_os("SUBHOST").map_or("/opt/subhost".into(), PathBuf::from);
    if let Some(tools) = std::env::var_os("SUBHOST_TOOLS") {
        subhost::tools_in(Path::new(&tools));
    }

    // The library prints nothing. A program that wants warnings, or each step, installs a listener once. Any
    // thread may call the listener.
    let (sender, receiver) = channel();
    events::listen(Level::Step, move |event| {
        let about = event.subhost.map_or("", Name::as_str);
        let text = match event.what {
            What::Error(error) => format!("{about}: error: {error}"),
            What::Warning(text) => format!("{about}: warning: {text}"),
            What::Notice(text) | What::Waiting(text) | What::Step(text) => {
                format!("{about}: {text}")
            }
        };
        let _ = sender.send(text);
    });

    let host = Subhost::new(&tree, &Name::new(&name)?, &[]);
    println!("it is {}", host.status()?.as_str());

    // `Background` returns when the subhost is up. If the start fails, it is undone, and the error gives the
    // reason.
    host.start(StartHow::Background, None)?;
    assert_eq!(host.status()?, Status::Running);
    println!("it is {}", host.status()?.as_str());

    let output = host.command("hostname").output()?;
    print!("it says: {}", String::from_utf8_lossy(&output.stdout));

    // With `sync` the stop returns when the kernel has destroyed mounts and network.
    host.stop(StopHow {
        sync: true,
        ..StopHow::default()
    })?;
    println!("it is {}", host.status()?.as_str());

    for text in receiver.try_iter() {
        println!("heard: {text}");
    }
    Ok(())
}
