//! trued-render
