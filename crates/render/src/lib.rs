//! Renderers: from a bundle to documents. They read nothing but the bundle and their inputs: no network, no clock,
//! no host files, no chance. What runs for a render runs through `doors::Runner`, in a process of its own and confined:
//! programs of others (`program`), or templates. What one render may use is bounded in `bounds`.

use std::io;
use std::sync::Arc;

use trued_doors::Renderer;

mod bounds;
mod build;
mod chain;
mod contents;
mod copy;
mod helm;
mod jinja;
mod jsonnet;
mod kustomize;
mod objects;
mod plain;
mod program;
mod sensitive;
mod template;
mod worker;

pub use build::Build;
pub use chain::Chain;
pub use helm::Helm;
pub use jsonnet::Jsonnet;
pub use kustomize::Kustomize;
pub use plain::Plain;
pub use template::Template;

/// A task of our own program: bytes in, bytes out.
type Task = fn(Vec<u8>, &mut (dyn io::Write + Send)) -> io::Result<()>;

/// What renderers ask of this program in a process of its own, by name: the program's `main` offers it.
pub const TASKS: &[(&str, Task)] = &[(template::TASK, template::write_templates)];

/// All renderers, sorted by kind.
pub fn kinds() -> Vec<Arc<dyn Renderer>> {
    vec![
        Arc::new(Build),
        Arc::new(Chain::default()),
        Arc::new(Helm::default()),
        Arc::new(Jsonnet::default()),
        Arc::new(Kustomize::default()),
        Arc::new(Plain),
        Arc::new(Template),
    ]
}
