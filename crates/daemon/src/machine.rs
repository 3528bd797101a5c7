//! What the process asks of the machine that it runs on.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The machine's name, as the system knows it; not necessarily one in DNS.
#[must_use]
pub fn machine_name() -> Option<String> {
    let system = rustix::system::uname();
    system.nodename().to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Lets the process have as many file descriptors as the system allows this user: each session takes one. Not being
/// allowed to is no reason not to start.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
