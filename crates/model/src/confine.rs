//! How programs of others are confined: what they may use, how well it is enforced, and which bound was passed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Duration};

/// How well a program is confined, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Not at all: bounded in time, output and memory, but it reads and reaches whatever this user can.
    Unsafe,
    /// By the kernel, without privileges: Landlock, seccomp, limits, and a uid of its own where we are root.
    Base,
    /// As base, and in namespaces of its own: it sees no other process, no network and few files.
    Namespaced,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Unsafe => "unsafe",
            Level::Base => "base",
            Level::Namespaced => "namespaced",
        }
    }
}

/// What a confined program and everything it starts may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub time: Duration,
    pub processes: u32,
    pub memory: Size,
    /// Of all files it leaves.
    pub output: Size,
    /// Of what it says.
    pub log: Size,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { time: Duration::from_secs(600), processes: 512, memory: Size::mib(2048), output: Size::mib(1024), log: Size::mib(10) }
    }
}

impl Limits {
    /// The names of those bounds that are higher than another's.
    pub fn above(&self, other: &Limits) -> Vec<&'static str> {
        let bounds = [
            ("time", self.time > other.time),
            ("processes", self.processes > other.processes),
            ("memory", self.memory > other.memory),
            ("output", self.output > other.output),
            ("log", self.log > other.log),
        ];
        bounds.into_iter().filter_map(|(name, higher)| higher.then_some(name)).collect()
    }
}

/// A bound that a program passed; it was ended for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    Time,
    Processes,
    Memory,
    Output,
    Log,
}

impl Bound {
    /// The key under `limits`.
    pub fn key(self) -> &'static str {
        match self {
            Bound::Time => "time",
            Bound::Processes => "processes",
            Bound::Memory => "memory",
            Bound::Output => "output",
            Bound::Log => "log",
        }
    }

    /// What the program did, as the rest of a sentence.
    pub fn words(self, limits: &Limits) -> String {
        match self {
            Bound::Time => format!("did not end within {}", limits.time),
            Bound::Processes => format!("ran more than {} processes", limits.processes),
            Bound::Memory => format!("used more than {} of memory", limits.memory),
            Bound::Output => format!("wrote more than {} of output", limits.output),
            Bound::Log => format!("wrote more than {} of log", limits.log),
        }
    }
}

/// A number of bytes, written `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units, the largest first.
const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Size {
    pub const fn mib(count: u64) -> Size {
        Size(count << 20)
    }

    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Size, &'static str> {
        const WRONG: &str = "not a size such as 512MiB or 2GiB";
        let (count, shift) = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).ok_or(WRONG)?;
        let plain = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = if plain { count.parse().map_err(|_| WRONG)? } else { return Err(WRONG) };
        count.checked_mul(1 << shift).map(Size).ok_or("larger than any size that can be")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A program of others that rendered something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// As it was called.
    pub name: String,
    /// What it says of itself; `None` when it does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of its file.
    pub digest: Digest,
}

/// What the operator says of confined programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRules {
    /// Whether builds run even where they cannot be confined.
    #[serde(rename = "unsafe")]
    pub even_unsafe: bool,
    /// The level below which no build runs; base where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Folders and files that every build may read, absolute.
    pub tools: Vec<String>,
    /// The most any build may use.
    pub limits: Limits,
}
