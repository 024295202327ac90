//! subhost-init(8): PID 1 inside.

fn main() -> std::process::ExitCode {
    subhost::init::main()
}
