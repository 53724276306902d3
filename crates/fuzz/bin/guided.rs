//! One parser under libFuzzer: `TRUED_FUZZ` names it. Built and started by `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

use trued_fuzz::Parser;

static PARSER: LazyLock<Parser> = LazyLock::new(|| {
    let name = std::env::var("TRUED_FUZZ").expect("TRUED_FUZZ names a parser");
    trued_fuzz::named(&name).expect("there is such a parser")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (PARSER.parse)(bytes));
