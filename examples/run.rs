//! Runs a command in a running subhost, as `ssh HOST COMMAND` does: `run NAME COMMAND [ARGUMENT...]`.
//!
//! The command gets standard input. Its output and its exit status are printed when it has ended. The
//! directory of the subhosts is `$SUBHOST`.

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

    // This reads no file. The last argument takes settings that override those of the config, as `--set`
    // does.
    let host = Subhost::new(&tree, &Name::new(&name)?, &[]);

    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;

    // `Command` works as in `std::process`. `output_of` writes the input while it reads the output, so that
    // neither side blocks the other. A command without input takes `output`.
    let output = match host.command(program).args(args).output_of(&input) {
        Ok(output) => output,
        // An error holds the exit status that a tool would have.
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
