//! What confining a program costs a build.

use std::fs;
use std::time::Duration;

use super::measure::{Took, median, run};
use super::{Ground, Row};
use crate::bench::files::{OPERATOR, Place};

const ROUNDS: usize = 15;

/// A stack that a program renders, against one that is taken as it is, each with one change; less what the program takes
/// by itself.
pub fn overhead(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let built = changed(ground, "built", "build: { path: site, command: [cp, -r, page, out], output: out }")?;
    let plain = changed(ground, "plain", "plain: { path: site/page }")?;
    let place = Place::empty(ground, "alone")?;
    fs::create_dir_all(place.folder.join("page"))?;
    let alone = median(ROUNDS, || run(place.sh("exec cp -r page out")))?;
    let overhead = built.wall.saturating_sub(plain.wall).saturating_sub(alone.wall);
    let milliseconds = |span: Duration| span.as_secs_f64() * 1000.0;
    Ok(vec![Row {
        what: "a build, confined, beside what it runs".to_owned(),
        measured: format!("{:.1} ms", milliseconds(overhead)),
        yardstick: format!(
            "built {:.1} ms, plain {:.1} ms, alone {:.1} ms",
            milliseconds(built.wall),
            milliseconds(plain.wall),
            milliseconds(alone.wall)
        ),
        bar: "30 ms",
        holds: milliseconds(overhead) <= 30.0,
    }])
}

/// A cold process, one file of the stack changed.
fn changed(ground: &Ground, name: &str, render: &str) -> anyhow::Result<Took> {
    let place = Place::empty(ground, name)?;
    fs::create_dir_all(place.folder.join("source/site/page"))?;
    fs::create_dir(place.folder.join("www"))?;
    fs::write(place.folder.join("trued.yaml"), OPERATOR)?;
    let app = format!("app: page\nrender: {{ {render} }}\nstacks: {{ default: {{ target: web }} }}\n");
    fs::write(place.folder.join("source/app.yaml"), app)?;
    let mut round = 0;
    median(ROUNDS, || {
        round += 1;
        fs::write(place.folder.join("source/site/page/index.html"), format!("page {round}\n"))?;
        run(place.trued(&["apply"]))
    })
}
