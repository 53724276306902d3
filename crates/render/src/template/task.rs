//! The process that writes templates: nothing but its input, and its output as it goes.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use trued_model::Finding;

use super::passed::{Held, Order, Said};
use crate::bounds::MAX_OUTPUTS;
use crate::jinja::Workshop;

/// The name of this task.
pub const TASK: &str = "templates";

/// Writes all templates of an order, one after the other, on a stack with room for deep values.
pub fn write_templates(input: Vec<u8>, to: &mut (dyn Write + Send)) -> io::Result<()> {
    let (order, held) = Order::unpack(&input)?;
    drop(input);
    std::thread::scope(|scope| {
        let roomy = std::thread::Builder::new().name("templates".to_owned()).stack_size(order.stack);
        let writing = roomy.spawn_scoped(scope, || write_all(order, held, to))?;
        writing.join().unwrap_or_else(|_| Err(io::Error::other("a template broke the renderer")))
    })
}

fn write_all(order: Order, held: Held, to: &mut dyn Write) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    let templates = order.templates.clone();
    let folder = order.folder.clone();
    let workshop = Arc::new(Workshop::new(order, held)?);
    let mut bytes = 0;
    for (template, path) in templates.iter().enumerate() {
        Said::Begun(template).say(&mut to, &[])?;
        // What comes now may end this process.
        to.flush()?;
        let written = match workshop.write(path) {
            Ok(written) => written,
            Err(findings) => {
                Said::Failed { template, findings }.say(&mut to, &[])?;
                continue;
            }
        };
        bytes += written.bytes.len() as u64;
        if bytes > MAX_OUTPUTS {
            let message = format!("the templates of `{folder}` write more than {MAX_OUTPUTS} bytes together");
            Said::Failed { template, findings: vec![Finding::new(message, "split it into several stacks")] }.say(&mut to, &[])?;
            break;
        }
        Said::Written { template, seal: written.seal }.say(&mut to, &written.bytes)?;
    }
    Said::Done { wants: workshop.wants() }.say(&mut to, &[])?;
    to.flush()
}
