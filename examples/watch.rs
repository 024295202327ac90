//! Starts a subhost, looks at it, stops it, and tells what the library told meanwhile: `watch NAME`.
//!
//! The tree of subhosts is `$SUBHOST`; `$SUBHOST_TOOLS` is where subhost-init lies, if it is neither
//! beside this program nor installed.

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

    // The library prints nothing. Whoever wants to hear of warnings, or of each step, gives it a sink, once
    // in a program; it is called by whatever thread has something to tell.
    let (sender, heard) = channel();
    events::listen(Level::Step, move |event| {
        let about = event.subhost.map_or("", Name::as_str);
        let text = match event.what {
            What::Error(error) => format!("{about}: error: {error}"),
            What::Warning(text) => format!("{about}: warning: {text}"),
            What::Notice(text) | What::Step(text) => format!("{about}: {text}"),
        };
        let _ = sender.send(text);
    });

    let host = Subhost::new(&tree, &Name::new(&name)?, &[]);
    println!("it is {}", host.status()?.as_str());

    // In the background: it returns when it is up, or undoes what it did and says why it is not.
    host.start(StartHow::Background, None)?;
    assert_eq!(host.status()?, Status::Running);
    println!("it is {}", host.status()?.as_str());

    let output = host.command("hostname").output()?;
    print!("it says: {}", String::from_utf8_lossy(&output.stdout));

    // All of it, and only when the kernel is through with that too.
    host.stop(StopHow {
        sync: true,
        ..StopHow::default()
    })?;
    println!("it is {}", host.status()?.as_str());

    for text in heard.try_iter() {
        println!("heard: {text}");
    }
    Ok(())
}
