//! What the tests of this crate start between themselves and `ssh`: the stages of the sandbox alone, as `trued` has them.

use std::process::ExitCode;

fn main() -> ExitCode {
    trued_sandbox::stage(&[]).unwrap_or(ExitCode::FAILURE)
}
