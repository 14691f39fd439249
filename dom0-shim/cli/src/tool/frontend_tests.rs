// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the supervisor does with a guest's frontend, good, clumsy and hostile.

use xenlend::{FrontendRefusal, FrontendRings};

use super::fake_host::{FakeHost, SUPERVISOR};
use super::frontend::refusal;
use super::up::up;
use super::up_tests::request;
use super::watch::{Next, Occasion, Watch};

const FRONTEND: &str = "/local/domain/7/device/xenlend/0";
const BACKEND: &str = "/local/domain/8/backend/xenlend/7/0";

struct Guest {
    host: FakeHost,
    watch: Watch,
}

impl Guest {
    fn new() -> Self {
        let mut host = FakeHost::new();
        let record = up(&mut host, &request()).unwrap();
        host.start_afresh();
        Self { host, watch: Watch::new(&record, SUPERVISOR.pid) }
    }

    fn write(&mut self, name: &str, value: &str) {
        self.host.world.nodes.insert(format!("{FRONTEND}/{name}"), value.to_owned());
    }

    /// The driver names everything and says Initialised.
    fn initialise(&mut self) {
        let aperture = self.host.record("g1").aperture;
        self.write("protocol", "1");
        for (name, value) in [("ring-ref-0", "8"), ("ring-ref-1", "9"), ("ring-ref-2", "10")] {
            self.write(name, value);
        }
        self.write("event-channel", "17");
        self.write("aperture-gfn", &format!("{:#x}", aperture.gfn()));
        self.write("aperture-pages", &aperture.pages().to_string());
        self.write("state", "3");
    }

    fn turn(&mut self) -> (Next, String) {
        let mut log = String::new();
        let next = self.watch.turn(&mut self.host, Occasion::Event, &mut |line| log.push_str(&line)).unwrap();
        (next, log)
    }

    /// The backend's state after a turn.
    fn state_after_turn(&mut self) -> String {
        let (next, _) = self.turn();
        assert!(matches!(next, Next::Wait | Next::Soon), "{next:?}");
        self.host.world.nodes[&format!("{BACKEND}/state")].clone()
    }

    fn error(&self) -> Option<&String> {
        self.host.world.nodes.get(&format!("{BACKEND}/error"))
    }

    fn is_attached(&self) -> bool {
        self.host.world.frontends.contains_key(&7)
    }
}

#[test]
fn a_good_frontend_connects_closes_and_comes_again() {
    let mut guest = Guest::new();
    for _ in 0..3 {
        assert_eq!(guest.state_after_turn(), "2");
        guest.initialise();
        assert_eq!(guest.state_after_turn(), "4");
        let rings = FrontendRings { ring_refs: [8, 9, 10], event_channel: 17 };
        assert_eq!(guest.host.world.frontends[&7], rings);
        guest.write("state", "4");
        guest.host.start_afresh();
        assert_eq!(guest.state_after_turn(), "4");
        assert_eq!(guest.host.effects(), [""; 0]);
        guest.write("state", "5");
        assert_eq!(guest.turn().0, Next::Soon);
        assert_eq!(guest.state_after_turn(), "6", "its pages are its own again when it reads this");
        assert!(!guest.is_attached());
        assert_eq!(guest.state_after_turn(), "6", "until it has seen that");
        guest.write("state", "6");
        assert_eq!(guest.state_after_turn(), "2");
    }
}

#[test]
fn the_pages_are_let_go_before_the_state_says_so() {
    let mut guest = Guest::new();
    guest.initialise();
    guest.turn();
    for (state, said) in [("5", "5"), ("6", "2"), ("1", "2")] {
        let mut guest = Guest::new();
        guest.initialise();
        guest.turn();
        guest.host.start_afresh();
        guest.write("state", state);
        assert_eq!(guest.state_after_turn(), said);
        assert_eq!(guest.host.effects(), ["detach_frontend", "write_node"], "{state}");
    }
    guest.host.start_afresh();
    guest.write("state", "nonsense");
    assert_eq!(guest.state_after_turn(), "5");
    assert_eq!(guest.host.effects(), ["write_node", "detach_frontend", "write_node"]);
}

#[test]
fn whatever_a_guest_writes_it_is_refused_with_the_reason_and_nothing_else_happens() {
    let nodes = ["protocol", "ring-ref-0", "ring-ref-1", "ring-ref-2", "event-channel", "aperture-gfn"];
    for name in nodes.into_iter().chain(["aperture-pages"]) {
        for nonsense in ["", "0x", "-1", "9999999999999999999999", "../..", "\u{1b}[31m"] {
            let mut guest = Guest::new();
            guest.initialise();
            guest.write(name, nonsense);
            let (next, log) = guest.turn();
            assert_eq!(next, Next::Wait);
            assert!(log.contains(name) && !log.contains('\u{1b}'), "{log}");
            assert_eq!(guest.host.world.nodes[&format!("{BACKEND}/state")], "5");
            assert!(guest.error().unwrap().contains(name));
            assert!(!guest.host.has_called("attach_frontend"), "{name} = {nonsense}");
            assert!(guest.host.world.links.contains_key(&7), "the link goes on");
        }
    }
    for state in ["4", "0", "7", "", "5 ", "x"] {
        let mut guest = Guest::new();
        guest.write("state", state);
        assert_eq!(guest.state_after_turn(), "5", "{state}");
        assert!(guest.error().unwrap().contains("state"));
    }
    let mut guest = Guest::new();
    guest.host.world.nodes.retain(|node, _| !node.starts_with(FRONTEND));
    assert_eq!(guest.state_after_turn(), "5", "a guest that removes its nodes");
}

#[test]
fn a_frontend_that_the_broker_refuses_may_try_three_times_and_then_only_with_a_new_probe() {
    let mut guest = Guest::new();
    guest.host.attach_answers = vec![Ok(Some(FrontendRefusal::Grant(2))); 4].into();
    for round in 0..3 {
        guest.initialise();
        assert_eq!(guest.state_after_turn(), "5");
        assert!(guest.error().unwrap().contains("grant"), "{round}");
        guest.write("state", "5");
        assert_eq!(guest.state_after_turn(), "6");
        guest.write("state", "6");
        assert_eq!(guest.state_after_turn(), if round < 2 { "2" } else { "6" });
    }
    guest.initialise();
    assert_eq!(guest.state_after_turn(), "6", "it goes round in circles");
    guest.write("state", "1");
    assert_eq!(guest.state_after_turn(), "2");
    guest.host.attach_answers.clear();
    guest.initialise();
    assert_eq!(guest.state_after_turn(), "4");
    assert_eq!(guest.error(), None);
}

#[test]
fn while_the_broker_cannot_be_asked_it_is_tried_again_without_a_word() {
    let mut guest = Guest::new();
    guest.host.attach_answers = vec![Err(rustix::io::Errno::AGAIN), Ok(None)].into();
    guest.initialise();
    assert_eq!(guest.turn(), (Next::Sample, String::new()));
    assert!(!guest.is_attached());
    assert_eq!(guest.state_after_turn(), "4");
    let mut guest = Guest::new();
    guest.host.attach_answers = vec![Err(rustix::io::Errno::TIMEDOUT)].into();
    guest.initialise();
    assert_eq!(guest.state_after_turn(), "5");
    assert!(guest.error().unwrap().contains("does not answer"));
    let record = guest.host.record("g1").clone();
    assert!(refusal(&mut guest.host, &record).unwrap().unwrap().contains("does not answer"));
    let record = Guest::new().host.record("g1").clone();
    assert_eq!(refusal(&mut Guest::new().host, &record).unwrap(), None);
}

#[test]
fn another_supervisor_goes_on_where_one_was_killed() {
    let mut guest = Guest::new();
    guest.initialise();
    assert_eq!(guest.state_after_turn(), "4");
    guest.watch = Watch::new(&guest.host.record("g1").clone(), SUPERVISOR.pid);
    guest.write("state", "4");
    assert_eq!(guest.state_after_turn(), "4");
    assert!(guest.is_attached());
    guest.write("state", "5");
    assert_eq!(guest.state_after_turn(), "5");
    assert!(!guest.is_attached());
}

#[test]
fn a_guest_that_shuts_down_reads_closing_and_waits_for_nothing_else() {
    let mut guest = Guest::new();
    guest.initialise();
    guest.turn();
    guest.write("state", "5");
    // Its kernel waits for this word, five seconds, and looks at nothing else.
    assert_eq!(guest.state_after_turn(), "5");
    assert!(!guest.is_attached());
    guest.write("state", "6");
    assert_eq!(guest.state_after_turn(), "2");
    // A driver that is unloaded waits for Closed instead, and says nothing meanwhile.
    guest.initialise();
    guest.turn();
    guest.write("state", "5");
    assert_eq!(guest.turn().0, Next::Soon);
    assert_eq!(guest.state_after_turn(), "6");
}

#[test]
fn the_log_has_an_end_however_often_a_guest_changes_its_mind() {
    let mut guest = Guest::new();
    let mut lines = 0;
    for round in 0..1000 {
        guest.initialise();
        if round % 2 == 0 {
            guest.write("protocol", "2");
        }
        lines += usize::from(!guest.turn().1.is_empty());
        guest.write("state", "1");
        lines += usize::from(!guest.turn().1.is_empty());
    }
    assert!((3..=32).contains(&lines), "{lines}");
}

#[test]
fn each_node_of_the_guest_is_read_once_a_turn() {
    let mut guest = Guest::new();
    guest.initialise();
    guest.turn();
    let reads = guest.host.calls.iter().filter(|call| *call == "read_node").count();
    assert_eq!(reads, 1 + 2 + 7, "what the broker is told, both states, and the seven claims");
}
