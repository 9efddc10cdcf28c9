//! The network card behind a connection: which processors are of its NUMA node, and which serve its
//! interrupts, as sysfs and procfs tell.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::net::if_::{if_indextoname, if_nametoindex};

use super::Socket;
use super::queue::outgoing_device;
use crate::config::CpuList;

/// Most devices that are examined below one device; a bridge may have thousands, few of which are cards.
const DEVICES_MAX: usize = 64;

/// The network device that a connection sends through, and the network card behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingDevice {
    /// Name of the device.
    pub name: String,
    /// The card; `None` where there is none, as with loopback, or where the device belongs to another network
    /// namespace.
    pub card: Option<Card>,
}

/// A network card; several are taken as one where a device stands for all of them, as a bond does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Numbers of the processors of its NUMA node; `None` if the system does not tell.
    pub node: Option<BTreeSet<u32>>,
    /// Numbers of the processors that serve its interrupts; `None` if the system does not tell.
    pub interrupts: Option<BTreeSet<u32>>,
    /// Numbers of the processors that serve its interrupts, and of all that share a core with one of them.
    pub interrupt_cores: BTreeSet<u32>,
}

impl OutgoingDevice {
    /// The device of a connected socket, and which processors serve its interrupts at this moment.
    ///
    /// # Errors
    /// The system's, when the kernel does not tell the route.
    pub fn of(socket: &Socket) -> io::Result<Self> {
        let index = outgoing_device(socket)?;
        let name = if_indextoname(index)?.to_string_lossy().into_owned();
        if socket.has_both_ends_here() {
            // What stays on this machine passes no card.
            return Ok(Self { name, card: None });
        }
        let index_of = |name: &str| if_nametoindex(name).ok();
        let tree = Tree { sys: Path::new("/sys"), proc: Path::new("/proc"), index_of: &index_of };
        Ok(Self { card: tree.card(&name), name })
    }
}

/// The folders that the facts are read from.
struct Tree<'a> {
    sys: &'a Path,
    proc: &'a Path,
    /// The number of a device in the network namespace of this process.
    index_of: &'a dyn Fn(&str) -> Option<u32>,
}

impl Tree<'_> {
    /// The cards behind a device, taken as one; `None` if there are none.
    fn card(&self, device: &str) -> Option<Card> {
        let ports = self.ports(device);
        if ports.is_empty() {
            return None;
        }
        let all = |of: &dyn Fn(&Path) -> Option<BTreeSet<u32>>| {
            let known = ports.iter().filter_map(|port| of(port));
            known.reduce(|mut all, next| {
                all.extend(next);
                all
            })
        };
        let node = all(&|port| self.node(port));
        let interrupts = all(&|port| self.interrupts(port));
        let interrupt_cores = interrupts.iter().flatten().flat_map(|&cpu| self.core(cpu)).collect();
        Some(Card { node, interrupts, interrupt_cores })
    }

    /// Folders of the hardware of a device and of all below it: the ports of a bond, what a VLAN stands on.
    fn ports(&self, device: &str) -> Vec<PathBuf> {
        let mut names = vec![device.to_owned()];
        let mut ports = Vec::new();
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            let folder = self.sys.join("class/net").join(&name);
            // A tree that was mounted in another network namespace has devices of the same names.
            let index = read(&folder.join("ifindex")).and_then(|index| index.parse().ok());
            if index.is_none() || index != (self.index_of)(&name) {
                continue;
            }
            ports.extend(hardware(&folder));
            for lower in names_in(&folder).iter().filter_map(|entry| entry.strip_prefix("lower_")) {
                if names.len() < DEVICES_MAX && !names.iter().any(|known| known == lower) {
                    names.push(lower.to_owned());
                }
            }
        }
        ports
    }

    fn node(&self, port: &Path) -> Option<BTreeSet<u32>> {
        // -1 where the firmware does not tell.
        let node: u32 = read(&port.join("numa_node"))?.parse().ok()?;
        read_list(&self.sys.join(format!("devices/system/node/node{node}/cpulist")))
    }

    fn interrupts(&self, port: &Path) -> Option<BTreeSet<u32>> {
        let mut numbers = names_in(&port.join("msi_irqs"));
        if numbers.is_empty() {
            // A line that it may share with others; 0 without one.
            numbers = read(&port.join("irq")).into_iter().filter(|number| number != "0").collect();
        }
        let numbers = numbers.iter().filter_map(|number| number.parse::<u32>().ok());
        let serving: BTreeSet<u32> = numbers.filter_map(|number| self.serving(number)).flatten().collect();
        (!serving.is_empty()).then_some(serving)
    }

    /// The processors that serve an interrupt: those chosen among the allowed ones, where that is told.
    fn serving(&self, number: u32) -> Option<BTreeSet<u32>> {
        let actions = read(&self.sys.join(format!("kernel/irq/{number}/actions")));
        if actions.is_some_and(|actions| actions.is_empty()) {
            // The card could have it, but nobody listens.
            return None;
        }
        let folder = self.proc.join(format!("irq/{number}"));
        let list = |name| read_list(&folder.join(name));
        list("effective_affinity_list").or_else(|| list("smp_affinity_list"))
    }

    fn core(&self, cpu: u32) -> BTreeSet<u32> {
        let path = format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        read_list(&self.sys.join(path)).unwrap_or_else(|| BTreeSet::from([cpu]))
    }
}

/// The folder of a device's hardware, which has its node and its interrupts; `None` of a virtual device.
fn hardware(device: &Path) -> Option<PathBuf> {
    let hardware = fs::canonicalize(device.join("device")).ok()?;
    let bus = fs::read_link(hardware.join("subsystem")).unwrap_or_default();
    // The hardware of a virtio device is the folder above.
    if bus.ends_with("virtio") { hardware.parent().map(Path::to_owned) } else { Some(hardware) }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn read_list(path: &Path) -> Option<BTreeSet<u32>> {
    let list: CpuList = read(path)?.parse().ok()?;
    Some(list.numbers().iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree as Linux has it: files with their text, links with `-> ` and what they lead to.
    struct Recorded(PathBuf);

    impl Recorded {
        fn new(name: &str, entries: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ringperf-card-{name}-{}", std::process::id()));
            for (path, text) in entries {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                match text.strip_prefix("-> ") {
                    Some(target) => symlink(target, &path).unwrap(),
                    None => fs::write(&path, format!("{text}\n")).unwrap(),
                }
            }
            Self(root)
        }

        fn card(&self, device: &str, index_of: &dyn Fn(&str) -> Option<u32>) -> Option<Card> {
            let (sys, proc) = (self.0.join("sys"), self.0.join("proc"));
            Tree { sys: &sys, proc: &proc, index_of }.card(device)
        }
    }

    impl Drop for Recorded {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Two nodes of two cores with two threads each; eth0 with two queues on node 1, eth1 with one on node 0.
    const SERVER: &[(&str, &str)] = &[
        ("sys/class/net/eth0", "-> ../../devices/pci0/0000:81:00.0/net/eth0"),
        ("sys/devices/pci0/0000:81:00.0/net/eth0/ifindex", "2"),
        ("sys/devices/pci0/0000:81:00.0/net/eth0/device", "-> ../../../0000:81:00.0"),
        ("sys/devices/pci0/0000:81:00.0/subsystem", "-> ../../../bus/pci"),
        ("sys/devices/pci0/0000:81:00.0/numa_node", "1"),
        ("sys/devices/pci0/0000:81:00.0/irq", "9"),
        ("sys/devices/pci0/0000:81:00.0/msi_irqs/40", "msix"),
        ("sys/devices/pci0/0000:81:00.0/msi_irqs/41", "msix"),
        ("sys/devices/pci0/0000:81:00.0/msi_irqs/42", "msix"),
        ("sys/kernel/irq/40/actions", "eth0-rx-0"),
        ("sys/kernel/irq/42/actions", ""),
        ("proc/irq/40/smp_affinity_list", "0-7"),
        ("proc/irq/40/effective_affinity_list", "2"),
        ("proc/irq/41/smp_affinity_list", "3"),
        ("proc/irq/41/effective_affinity_list", ""),
        ("proc/irq/42/smp_affinity_list", "0"),
        ("sys/class/net/eth1", "-> ../../devices/pci0/0000:01:00.0/virtio3/net/eth1"),
        ("sys/devices/pci0/0000:01:00.0/virtio3/net/eth1/ifindex", "3"),
        ("sys/devices/pci0/0000:01:00.0/virtio3/net/eth1/device", "-> ../../../virtio3"),
        ("sys/devices/pci0/0000:01:00.0/virtio3/subsystem", "-> ../../../../bus/virtio"),
        ("sys/devices/pci0/0000:01:00.0/numa_node", "0"),
        ("sys/devices/pci0/0000:01:00.0/irq", "11"),
        ("proc/irq/11/smp_affinity_list", "5"),
        ("sys/class/net/bond0/ifindex", "4"),
        ("sys/class/net/bond0/lower_eth0", "-> ../eth0"),
        ("sys/class/net/bond0/lower_eth1", "-> ../eth1"),
        ("sys/class/net/bond0.7/ifindex", "5"),
        ("sys/class/net/bond0.7/lower_bond0", "-> ../bond0"),
        ("sys/class/net/lo/ifindex", "1"),
        ("sys/class/net/mute/ifindex", "6"),
        ("sys/class/net/mute/device/numa_node", "-1"),
        ("sys/class/net/mute/device/irq", "0"),
        ("sys/devices/system/node/node0/cpulist", "0-1,4-5"),
        ("sys/devices/system/node/node1/cpulist", "2-3,6-7"),
        ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6"),
        ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3,7"),
    ];

    /// The numbers of the devices of that tree.
    fn index_of(name: &str) -> Option<u32> {
        let names = ["lo", "eth0", "eth1", "bond0", "bond0.7", "mute"];
        names.iter().zip(1..).find_map(|(known, index)| (*known == name).then_some(index))
    }

    fn card(node: &[u32], interrupts: &[u32], interrupt_cores: &[u32]) -> Card {
        let set = |numbers: &[u32]| numbers.iter().copied().collect();
        Card {
            node: Some(set(node)),
            interrupts: Some(set(interrupts)),
            interrupt_cores: set(interrupt_cores),
        }
    }

    #[test]
    fn a_card_tells_its_node_and_who_serves_its_interrupts() {
        let tree = Recorded::new("plain", SERVER);
        let eth0 = card(&[2, 3, 6, 7], &[2, 3], &[2, 3, 6, 7]);
        assert_eq!(tree.card("eth0", &index_of), Some(eth0));
        // Behind virtio, with a line of the old kind, and a processor that tells nothing of its core.
        assert_eq!(tree.card("eth1", &index_of), Some(card(&[0, 1, 4, 5], &[5], &[5])));
        assert_eq!(tree.card("mute", &index_of), Some(Card::default()));
    }

    #[test]
    fn devices_that_stand_on_others_have_their_cards() {
        let tree = Recorded::new("stacked", SERVER);
        let both = card(&[0, 1, 2, 3, 4, 5, 6, 7], &[2, 3, 5], &[2, 3, 5, 6, 7]);
        assert_eq!(tree.card("bond0", &index_of).as_ref(), Some(&both));
        assert_eq!(tree.card("bond0.7", &index_of), Some(both));
        for none in ["lo", "no-such-device", "../net/eth0"] {
            assert_eq!(tree.card(none, &index_of), None, "{none}");
        }
    }

    #[test]
    fn devices_of_another_namespace_do_not_count() {
        let tree = Recorded::new("namespace", SERVER);
        let other = |name: &str| index_of(name).map(|index| if name == "eth0" { 77 } else { index });
        assert_eq!(tree.card("eth0", &other), None);
        assert_eq!(tree.card("bond0", &other), Some(card(&[0, 1, 4, 5], &[5], &[5])));
        assert_eq!(tree.card("eth1", &|_| None), None);
    }

    #[test]
    fn devices_in_a_ring_are_looked_at_once() {
        let tree = Recorded::new(
            "ring",
            &[
                ("sys/class/net/lo/ifindex", "1"),
                ("sys/class/net/lo/lower_eth0", "-> ../eth0"),
                ("sys/class/net/eth0/ifindex", "2"),
                ("sys/class/net/eth0/lower_lo", "-> ../lo"),
            ],
        );
        assert_eq!(tree.card("lo", &index_of), None);
    }

    #[test]
    fn loopback_has_no_card() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = OutgoingDevice::of(&Socket::from_stream(stream)).unwrap();
        assert_eq!(found, OutgoingDevice { name: "lo".to_owned(), card: None });
    }
}
