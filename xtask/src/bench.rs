//! placeholder
pub fn bench(_: &[String]) -> anyhow::Result<()> {
    Ok(())
}
