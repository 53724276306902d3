//! Counts of what passed and what did not.

use std::fmt;
use std::ops::AddAssign;

/// What a test writes before its name and why, when the machine does not let it show what it is there for.
const UNSHOWN: &str = "not shown: ";

/// Passed, failed, ignored and skipped tests; a check of ring 1 counts as one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    /// Tests that ended well and said that they could not show what they are there for.
    pub skipped: u64,
}

/// What tests said that they could not show: each its name and why.
pub fn unshown(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| Some(line.split_once(UNSHOWN)?.1.trim().to_owned())).collect()
}

impl Tally {
    pub const PASS: Tally = Tally { passed: 1, failed: 0, ignored: 0, skipped: 0 };
    pub const FAIL: Tally = Tally { passed: 0, failed: 1, ignored: 0, skipped: 0 };

    /// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub fn from_summary(line: &str) -> Option<Tally> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let part = counts.split(';').find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse().ok()
        };
        Some(Tally { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")?, skipped: 0 })
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
        // They passed, as far as the test harness knows.
        sum.skipped = (unshown(output).len() as u64).min(sum.passed);
        sum.passed -= sum.skipped;
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
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_one_binary_are_added() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                      test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_run(output, false), Tally { passed: 5, failed: 4, ignored: 1, skipped: 0 });
    }

    #[test]
    fn what_a_test_could_not_show_is_skipped_and_named() {
        let output = "running 2 tests\ntest a ... not shown: a: only root hears of others\nok\ntest b ... ok\n\
                      test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let tally = Tally::of_run(output, true);
        assert_eq!(tally, Tally { passed: 1, skipped: 1, ..Tally::default() });
        assert_eq!(tally.to_string(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(unshown(output), ["a: only root hears of others"]);
    }

    #[test]
    fn an_abort_is_a_failure() {
        assert_eq!(Tally::of_run("running 9 tests\n", false), Tally::FAIL);
        assert_eq!(Tally::of_run("no harness\n", true), Tally::PASS);
    }
}
