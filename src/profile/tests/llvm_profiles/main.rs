//! LLVM's profiles: fixtures of real programs, generated ones and hostile ones,
//! against LLVM's own tools and against an account kept by hand.

mod differential;
mod generated;
mod hostile;
mod model;
mod tools;
