//! The built program, killed at every call by which it changes anything, and met by a failing or a full disk at each of
//! them; then started again. What must hold afterwards stands in `ground`, how calls are counted in `tracer`.

mod disks;
mod exhaustion;
mod ground;
mod kills;
mod leases;
mod scene;
mod tracer;
