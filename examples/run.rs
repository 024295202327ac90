//! Runs a command in a running subhost, as `ssh HOST COMMAND` does: `run NAME COMMAND [ARGUMENT...]`.
//!
//! Standard input goes to the command; what it writes is collected, and told with its status. The tree of
//! subhosts is `$SUBHOST`.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use subhost::{Exit, Name, Subhost};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(program)) = (args.next(), args.next()) else {
        return Err("usage: run NAME COMMAND [ARGUMENT...]".into());
    };
    let tree = std::env::var_os("SUBHOST").map_or("/opt/subhost".into(), PathBuf::from);

    // Nothing is read yet: this only says which one is meant. The last argument could change its settings.
    let host = Subhost::new(&tree, &Name::new(&name)?, &[]);

    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;

    // As with `std::process`, but for the `_of`: the input is written while the output is read, so that
    // neither side waits for the other. Without input it is `output()`.
    let output = match host.command(program).args(args).output_of(&input) {
        Ok(output) => output,
        // What went wrong is data: tools end with it as their status.
        Err(error) if error.exit == Exit::NotFound => {
            return Err(format!("{name} has no such program: {error}").into());
        }
        Err(error) if error.exit == Exit::NotRunning => {
            return Err(format!("{name} has to be started first: {error}").into());
        }
        Err(error) => return Err(error.into()),
    };

    std::io::stdout().write_all(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) => println!("{name}: status {code}"),
        (_, signal) => println!("{name}: ended by signal {}", signal.unwrap_or(0)),
    }
    Ok(())
}
