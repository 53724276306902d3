//! Where words go: results to standard output, all else to standard error. Colour only on a terminal.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// One place to print to.
pub struct Screen {
    output: Output,
}

const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const GREEN: anstyle::Style = anstyle::AnsiColor::Green.on_default();
const YELLOW: anstyle::Style = anstyle::AnsiColor::Yellow.on_default();
const DIM: anstyle::Style = anstyle::Style::new().dimmed();

impl Screen {
    pub fn new(output: Output) -> Screen {
        Screen { output }
    }

    pub fn output(&self) -> Output {
        self.output
    }

    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a result line. Colours are taken out where standard output is no terminal.
    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")
    }

    /// Prints bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Prints the one document of a verb.
    pub fn document<T: Serialize>(&self, value: &T) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// Prints one of many documents, on a line.
    pub fn row<T: Serialize>(&self, out: &mut impl Write, value: &T) -> anyhow::Result<()> {
        serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
        Ok(out.write_all(b"\n")?)
    }

    /// Whether a person looks at standard error.
    pub fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Says something to people, on standard error. Nobody listening is no failure.
    pub fn say(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    pub fn red(&self, text: &str) -> String {
        format!("{RED}{text}{RED:#}")
    }

    pub fn green(&self, text: &str) -> String {
        format!("{GREEN}{text}{GREEN:#}")
    }

    pub fn yellow(&self, text: &str) -> String {
        format!("{YELLOW}{text}{YELLOW:#}")
    }

    pub fn dim(&self, text: &str) -> String {
        format!("{DIM}{text}{DIM:#}")
    }
}
