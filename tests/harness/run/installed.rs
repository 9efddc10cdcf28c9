//! Where the peers' programs are. The benchmark beside them looks there too.

use std::env;
use std::path::PathBuf;

/// The program of that name where `make peers` installs, else the first one along `PATH`.
pub fn installed(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let peers = cache.map(|cache| cache.join("ringperf/peers/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    peers
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
