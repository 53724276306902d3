//! Renderers: from a bundle to documents. They read nothing but the bundle and their inputs: no network, no clock,
//! no host files, no chance. One runs a program of others, through `doors::Runner` and confined. What a template program may use is bounded in `bounds`.

use std::sync::Arc;

use trued_doors::Renderer;

mod bounds;
mod build;
mod contents;
mod copy;
mod jinja;
mod plain;
mod sensitive;
mod template;
mod worker;

pub use build::Build;
pub use plain::Plain;
pub use template::Template;

/// All renderers, sorted by kind.
pub fn kinds() -> Vec<Arc<dyn Renderer>> {
    vec![Arc::new(Build), Arc::new(Plain), Arc::new(Template)]
}
