//! A small web server for one website: what to answer is in `site`, without I/O; `server` carries
//! it over HTTP and HTTPS; `admin` answers probes and metrics on a port of its own.

pub mod admin;
pub mod metrics;
pub mod options;
pub mod server;
pub mod site;
pub mod tls;
