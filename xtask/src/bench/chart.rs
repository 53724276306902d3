//! A drawing of what was measured: one panel for each task, one line of marks for each program, both axes logarithmic.

use std::fmt::Write as _;

use super::peers::{Measured, TASKS};

const PANEL: (f64, f64) = (300.0, 260.0);
const MARGIN: (f64, f64) = (52.0, 40.0);
/// Seconds at the bottom and top of a panel; files at its left and right.
const SECONDS: (f64, f64) = (0.001, 1000.0);
const FILES: (f64, f64) = (60.0, 17_000.0);
const COLOURS: [&str; 5] = ["#0b6e4f", "#c2410c", "#7c3aed", "#1d4ed8", "#57534e"];

/// Draws all panels in one row, with a legend below.
pub fn svg(all: &[Measured]) -> Result<String, std::fmt::Error> {
    let width = (PANEL.0 + MARGIN.0) * TASKS.len() as f64 + 20.0;
    let height = PANEL.1 + 2.0 * MARGIN.1 + 30.0;
    let mut out = String::new();
    writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">"#)?;
    writeln!(out, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##)?;
    for (task, title) in TASKS.iter().enumerate() {
        panel(&mut out, all, task, title)?;
    }
    for (place, peer) in peers(all).into_iter().enumerate() {
        let (x, y) = (MARGIN.0 + place as f64 * 120.0, height - 14.0);
        writeln!(out, r#"<circle cx="{x}" cy="{}" r="5" fill="{}"/>"#, y - 4.0, COLOURS[place % COLOURS.len()])?;
        writeln!(out, r##"<text x="{}" y="{y}" fill="#1c1917">{peer}</text>"##, x + 10.0)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn panel(out: &mut String, all: &[Measured], task: usize, title: &str) -> std::fmt::Result {
    let left = MARGIN.0 + task as f64 * (PANEL.0 + MARGIN.0);
    let top = MARGIN.1;
    let x = |files: f64| left + PANEL.0 * share(files, FILES);
    let y = |seconds: f64| top + PANEL.1 * (1.0 - share(seconds, SECONDS));
    writeln!(out, r##"<text x="{left}" y="{}" font-weight="bold" fill="#1c1917">{title}, seconds</text>"##, top - 14.0)?;
    for power in -3..=3 {
        let at = y(10_f64.powi(power));
        writeln!(out, r##"<line x1="{left}" x2="{}" y1="{at:.1}" y2="{at:.1}" stroke="#e7e5e4"/>"##, left + PANEL.0)?;
        let label = 10_f64.powi(power);
        writeln!(out, r##"<text x="{}" y="{:.1}" text-anchor="end" fill="#57534e">{label}</text>"##, left - 6.0, at + 4.0)?;
    }
    for files in [100.0, 1_000.0, 10_000.0] {
        let bottom = top + PANEL.1 + 16.0;
        writeln!(out, r##"<text x="{:.1}" y="{bottom}" text-anchor="middle" fill="#57534e">{files}</text>"##, x(files))?;
    }
    for (place, peer) in peers(all).into_iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let marks: Vec<(f64, f64)> = all
            .iter()
            .filter(|measured| measured.peer == peer)
            .map(|measured| (x(measured.files as f64), y(measured.took[task].wall.as_secs_f64())))
            .collect();
        let line: Vec<String> = marks.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(out, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, line.join(" "))?;
        for (x, y) in marks {
            writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#)?;
        }
    }
    Ok(())
}

/// Where a value lies between two others on a logarithmic axis, from 0 to 1.
fn share(value: f64, (least, most): (f64, f64)) -> f64 {
    (value.max(least).ln() - least.ln()) / (most.ln() - least.ln())
}

/// The programs in the order they were measured.
fn peers(all: &[Measured]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for measured in all {
        if !names.contains(&measured.peer) {
            names.push(measured.peer);
        }
    }
    names
}
