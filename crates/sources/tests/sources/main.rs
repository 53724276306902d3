//! Sources against real repositories, a real HTTP server and real folders. Only these tests start processes.

mod folder;
mod hostile;
mod local;
mod remote;
mod signed;
mod support;
mod work_tree;
