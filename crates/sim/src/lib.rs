//! trued-sim
