//! What lies between two ends: namespaces, cables, and who loses or delays packets there.

mod dropper;
mod gathering;
pub mod netns;
mod proxy;

pub use dropper::{Dropper, Hook, Passed, Rule};
pub use gathering::{set_merging, set_scatter_gather, set_segmentation};
pub use netns::{Cable, DEVICE, Namespace};
pub use proxy::{Mischief, Passage, Proxy, ProxyPlan, Traffic};
