//! The evidence of a run between the processes that wrote it and the report:
//! nothing is lost, nothing counts twice, nothing is believed that changed, and
//! nothing gets out that is nobody's business. By podcov as a user starts it.

mod canaries;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod killed;
mod lab;
mod sealed;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;
