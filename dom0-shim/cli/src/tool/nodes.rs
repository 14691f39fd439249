// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore nodes that tell a broker what it serves.
//!
//! All belong to dom0 and are readable by the broker only, but for one folder in which the
//! broker says how it is. The borrower can neither read nor write any of them.

use xenlend::Attached;
use xenlend_protocol::joining::Joining;

use super::aperture::Aperture;

/// Version of these nodes and of the wire behind them.
const PROTOCOL: &str = "1";

/// Who may do what with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Owned by dom0, readable by this domain.
    ReadableBy(u16),
    /// Owned by this domain, which alone (with dom0) reads and writes it.
    OwnedBy(u16),
    /// Owned by one domain, readable by another.
    Shared {
        /// Reads and writes it.
        owner: u16,
        /// Reads it.
        reader: u16,
    },
}

impl Access {
    /// The permission strings of xenstore: the owner first.
    pub fn permissions(self) -> Vec<String> {
        match self {
            Self::ReadableBy(domid) => vec!["n0".to_owned(), format!("r{domid}")],
            Self::OwnedBy(domid) => vec![format!("n{domid}")],
            Self::Shared { owner, reader } => vec![format!("n{owner}"), format!("r{reader}")],
        }
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its absolute path.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Who may do what with it.
    pub access: Access,
}

/// What the nodes say.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The broker's domain.
    pub broker: u16,
    /// The lender's domain.
    pub lender: u16,
    /// The borrower's domain.
    pub borrower: u16,
    /// Its vCPUs.
    pub vcpus: u32,
    /// Its aperture.
    pub aperture: Aperture,
    /// Rings and event channel.
    pub attached: Attached,
}

/// The folder of all of them.
pub fn root(broker: u16) -> String {
    format!("/local/domain/{broker}/xenlend")
}

/// The folder in which the broker says how it is.
pub fn broker_folder(broker: u16) -> String {
    format!("{}/broker", root(broker))
}

/// The folder in which a broker that serves several says how this one's link is.
pub fn joined_folder(broker: u16, borrower: u16) -> String {
    format!("{}/more/{borrower}", broker_folder(broker))
}

/// The node by which a broker has heard of one borrower of several. It is the first to be removed.
pub fn told(broker: u16, borrower: u16, joined: bool) -> String {
    let root = root(broker);
    if joined {
        format!("{root}/more/{borrower}")
    } else {
        format!("{root}/borrower/domid")
    }
}

/// All that is about one borrower of several.
pub fn of_one(broker: u16, borrower: u16, joined: bool) -> Vec<String> {
    let root = root(broker);
    let own: &[&str] = if joined { &[] } else { &["/borrower", "/lender"] };
    let mut paths = vec![told(broker, borrower, joined)];
    paths.extend(own.iter().map(|path| format!("{root}{path}")));
    paths.push(joined_folder(broker, borrower));
    paths
}

impl Link {
    /// The nodes for a broker that serves another already: its answer to the last one is the service.
    pub fn joining_nodes(&self) -> Vec<Node> {
        let joining = Joining {
            lender: self.lender,
            rings: self.attached.ring_refs,
            event_channel: self.attached.event_channel,
            aperture_gfn: self.aperture.gfn(),
            aperture_pages: u32::try_from(self.aperture.pages()).unwrap_or(u32::MAX),
            // More than the module admits are refused by the broker.
            vcpus: u16::try_from(self.vcpus).unwrap_or(u16::MAX),
        };
        let root = root(self.broker);
        let access = Access::ReadableBy(self.broker);
        vec![
            Node { path: format!("{root}/more"), value: String::new(), access },
            Node { path: format!("{root}/more/{}", self.borrower), value: joining.to_string(), access },
        ]
    }

    /// The nodes, folders first.
    pub fn nodes(&self) -> Vec<Node> {
        let root = root(self.broker);
        let ours = |path: &str, value: String| Node {
            path: format!("{root}{path}"),
            value,
            access: Access::ReadableBy(self.broker),
        };
        let mut nodes = vec![
            ours("", String::new()),
            ours("/protocol", PROTOCOL.to_owned()),
            ours("/lender", String::new()),
            ours("/lender/domid", self.lender.to_string()),
        ];
        for (number, reference) in self.attached.ring_refs.iter().enumerate() {
            nodes.push(ours(&format!("/lender/ring-ref-{number}"), reference.to_string()));
        }
        nodes.extend([
            ours("/lender/event-channel", self.attached.event_channel.to_string()),
            ours("/borrower", String::new()),
            ours("/borrower/domid", self.borrower.to_string()),
            ours("/borrower/aperture-gfn", format!("{:#x}", self.aperture.gfn())),
            ours("/borrower/aperture-pages", self.aperture.pages().to_string()),
            ours("/borrower/vcpus", self.vcpus.to_string()),
            Node {
                path: broker_folder(self.broker),
                value: String::new(),
                access: Access::OwnedBy(self.broker),
            },
        ]);
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            broker: 8,
            lender: 0,
            borrower: 7,
            vcpus: 2,
            aperture: Aperture { address: 0x2_0000_0000, size: 64 << 20 },
            attached: Attached { ring_refs: [8, 9, 10], event_channel: 33 },
        }
    }

    #[test]
    fn the_broker_is_told_everything_it_needs() {
        let values: Vec<_> = link().nodes().into_iter().map(|node| (node.path, node.value)).collect();
        let expected = [
            ("", ""),
            ("/protocol", "1"),
            ("/lender", ""),
            ("/lender/domid", "0"),
            ("/lender/ring-ref-0", "8"),
            ("/lender/ring-ref-1", "9"),
            ("/lender/ring-ref-2", "10"),
            ("/lender/event-channel", "33"),
            ("/borrower", ""),
            ("/borrower/domid", "7"),
            ("/borrower/aperture-gfn", "0x200000"),
            ("/borrower/aperture-pages", "16384"),
            ("/borrower/vcpus", "2"),
            ("/broker", ""),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, value)| (format!("/local/domain/8/xenlend{path}"), (*value).to_owned()))
            .collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn a_broker_that_runs_is_told_in_one_line() {
        let nodes = link().joining_nodes();
        let [folder, line] = nodes.as_slice() else { panic!("{nodes:?}") };
        assert_eq!(folder.path, "/local/domain/8/xenlend/more");
        assert_eq!(line.path, "/local/domain/8/xenlend/more/7");
        assert_eq!(
            Joining::parse(&line.value),
            Some(Joining {
                lender: 0,
                rings: [8, 9, 10],
                event_channel: 33,
                aperture_gfn: 0x20_0000,
                aperture_pages: 16384,
                vcpus: 2
            })
        );
        assert!(nodes.iter().all(|node| node.access.permissions() == ["n0", "r8"]));
    }

    #[test]
    fn of_several_only_ones_own_nodes_go() {
        let joined = ["/local/domain/8/xenlend/more/7", "/local/domain/8/xenlend/broker/more/7"];
        assert_eq!(of_one(8, 7, true), joined);
        let first = ["borrower/domid", "borrower", "lender", "broker/more/7"]
            .map(|path| format!("/local/domain/8/xenlend/{path}"));
        assert_eq!(of_one(8, 7, false), first);
    }

    #[test]
    fn only_the_broker_writes_and_only_in_its_own_folder() {
        for node in link().nodes() {
            let expected: &[&str] =
                if node.path.ends_with("/xenlend/broker") { &["n8"] } else { &["n0", "r8"] };
            assert_eq!(node.access.permissions(), expected, "{}", node.path);
        }
    }
}
