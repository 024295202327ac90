//! subhost-limit(8).

fn main() -> std::process::ExitCode {
    subhost::cli::main::<subhost::cli::LimitTool>()
}
