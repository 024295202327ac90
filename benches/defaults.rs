//! Prints defaults.h for raw-cycle.c: what a subhost is confined by if its settings say nothing, as the
//! library has it, so that both do the same.

use std::error::Error;
use std::fmt::Write;
use subhost::Name;
use subhost::cgroup::device_program;
use subhost::config::{Config, Pid1};

fn main() -> Result<(), Box<dyn Error>> {
    let tree = std::env::temp_dir().join(format!("subhost-defaults-{}", std::process::id()));
    std::fs::create_dir_all(tree.join("any"))?;
    std::fs::write(tree.join("any/config"), "LOWER=/\n")?;
    let config = Config::load(&tree, &Name::new("any")?, &[]);
    std::fs::remove_dir_all(&tree)?;
    let config = config?;
    let rights = config.rights(Pid1::Ours);
    let confinement = rights.prepare()?;
    let mut text = format!("static const uint64_t kept = {:#x};\n", rights.caps);
    text += "static const struct sock_filter calls[] = {\n";
    for step in confinement.program().into_iter().flatten() {
        let (code, jt, jf, k) = (step.code, step.jt, step.jf, step.k);
        writeln!(text, "{{ {code:#x}, {jt}, {jf}, {k:#x} }},")?;
    }
    text += "};\n";
    text += "static const struct bpf_insn devices[] = {\n";
    for step in device_program(&config) {
        let (to, from) = (step.registers & 15, step.registers >> 4);
        let (code, offset, number) = (step.code, step.offset, step.number);
        writeln!(text, "{{ {code:#x}, {to}, {from}, {offset}, {number} }},")?;
    }
    text += "};\n";
    let hidden = &config.confine.hidden;
    for (name, paths) in [("masked", &hidden.masked), ("read_only", &hidden.read_only)] {
        writeln!(text, "static const char *const {name}[] = {{")?;
        paths
            .iter()
            .try_for_each(|path| writeln!(text, "{path:?},"))?;
        text += "};\n";
    }
    print!("{text}");
    Ok(())
}
