//! Counts of what passed and what did not.

use std::fmt;
use std::ops::AddAssign;

/// Passed, failed and ignored tests; a check of ring 1 counts as one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tally {
    pub const PASS: Tally = Tally { passed: 1, failed: 0, ignored: 0 };
    pub const FAIL: Tally = Tally { passed: 0, failed: 1, ignored: 0 };

    /// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub fn from_summary(line: &str) -> Option<Tally> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let part = counts.split(';').find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse().ok()
        };
        Some(Tally { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }

    /// Sums all summaries in a test binary's output. One that says nothing counts by its exit, one that fails
    /// without naming a failed test (an abort) counts one failure.
    pub fn of_run(output: &str, succeeded: bool) -> Tally {
        let mut sum = Tally::default();
        let mut said = false;
        for tally in output.lines().filter_map(Tally::from_summary) {
            sum += tally;
            said = true;
        }
        match (said, succeeded) {
            (false, true) => Tally::PASS,
            (_, false) if sum.failed == 0 => Tally { failed: 1, ..sum },
            _ => sum,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_one_binary_are_added() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                      test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_run(output, false), Tally { passed: 5, failed: 4, ignored: 1 });
    }

    #[test]
    fn an_abort_is_a_failure() {
        assert_eq!(Tally::of_run("running 9 tests\n", false), Tally::FAIL);
        assert_eq!(Tally::of_run("no harness\n", true), Tally::PASS);
    }
}
