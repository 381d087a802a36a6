//! Hub, agents, operators and the network, each step in any order: links break, the hub and agents are killed between any two steps,
//! operators ask for anything at any time. Roots are numbers; what must never happen is checked after every step.

use std::collections::{BTreeSet, VecDeque};

use super::*;

const AGENTS: usize = 4;
const STEPS: usize = 400;

/// xorshift64*: the same seed, the same story.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % n
    }
}

type Roots = BTreeSet<u32>;

#[derive(Clone, Debug)]
enum Said {
    Trust(Roots),
    Renew,
    Move,
    Certificate(u32),
    Ack(Roots),
    Csr,
}

/// What the hub keeps of a cluster: it survives a crash.
#[derive(Clone, Debug, Default)]
struct Facts {
    acked: Option<Roots>,
    certified: Option<u32>,
    linked: Option<u32>,
    saw: Option<u32>,
}

struct Agent {
    /// Kept: they survive a crash.
    pins: Roots,
    certificate: u32,
    up: bool,
    link: Option<Link>,
    /// Given up, and not seen well since.
    lost: bool,
}

/// One link: what it was made with, and what is under way on it.
struct Link {
    certificate: u32,
    presented: u32,
    to_agent: VecDeque<Said>,
    to_hub: VecDeque<Said>,
}

struct World {
    rotation: Rotation,
    current: u32,
    next: Option<u32>,
    made: u32,
    distrusted: Roots,
    facts: Vec<Facts>,
    agents: Vec<Agent>,
    chance: Chance,
}

impl World {
    fn new(seed: u64) -> Self {
        let agent = |_| Agent { pins: Roots::from([1]), certificate: 1, up: true, link: None, lost: false };
        Self {
            rotation: Rotation::default(),
            current: 1,
            next: None,
            made: 1,
            distrusted: Roots::new(),
            facts: vec![Facts::default(); AGENTS],
            agents: (0..AGENTS).map(agent).collect(),
            chance: Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        }
    }

    fn root(&self, generation: Generation) -> u32 {
        match generation {
            Generation::Current => self.current,
            Generation::Next => self.next.expect("a phase with two generations has both"),
        }
    }

    fn roots(&self, generations: &[Generation]) -> Roots {
        generations.iter().map(|g| self.root(*g)).collect()
    }

    fn generation(&self, root: Option<u32>) -> Option<Generation> {
        match root? {
            root if root == self.current => Some(Generation::Current),
            root if Some(root) == self.next => Some(Generation::Next),
            _ => None,
        }
    }

    fn member(&self, i: usize) -> Member {
        let facts = &self.facts[i];
        let roots = self.roots(self.rotation.trusted_hubs());
        Member {
            external: false,
            uid: format!("uid-{i}"),
            name: format!("c{i}"),
            live: self.agents[i].link.is_some(),
            told: facts.acked.as_ref() == Some(&roots),
            certified: self.generation(facts.certified),
            linked: self.generation(facts.linked),
            saw: self.generation(facts.saw),
        }
    }

    fn members(&self) -> Vec<Member> {
        (0..AGENTS).map(|i| self.member(i)).collect()
    }

    fn may_link(&self, i: usize) -> bool {
        let agent = &self.agents[i];
        self.roots(self.rotation.trusted_agents()).contains(&agent.certificate)
            && agent.pins.contains(&self.root(self.rotation.presents()))
    }

    /// A link comes up: the hub keeps what it shows, and says what is to be said.
    fn dial(&mut self, i: usize) {
        if !self.agents[i].up || !self.may_link(i) {
            return;
        }
        let (certificate, presented) = (self.agents[i].certificate, self.root(self.rotation.presents()));
        self.facts[i].linked = Some(certificate);
        self.facts[i].saw = Some(presented);
        let link = Link { certificate, presented, to_agent: VecDeque::new(), to_hub: VecDeque::new() };
        self.agents[i].link = Some(link);
        self.tell(i);
    }

    /// What the hub says to an agent when its link comes up, and after each step.
    fn tell(&mut self, i: usize) {
        let (roots, signs) = (self.roots(self.rotation.trusted_hubs()), self.rotation.signs());
        let (member, presents) = (self.member(i), self.root(self.rotation.presents()));
        let told = member.told;
        let Some(link) = &mut self.agents[i].link else { return };
        link.to_agent.push_back(Said::Trust(roots));
        if !member.is_on(signs) {
            link.to_agent.push_back(Said::Renew);
        }
        if told && link.presented != presents {
            link.to_agent.push_back(Said::Move);
        }
    }

    fn agent_hears(&mut self, i: usize) {
        let known = self.agents[i].pins.clone();
        let Some(link) = &mut self.agents[i].link else { return };
        let presented = link.presented;
        match link.to_agent.pop_front() {
            // It keeps them, then says so; a crash in between is a link that breaks.
            Some(Said::Trust(roots)) if roots.contains(&presented) || !roots.is_disjoint(&known) => {
                link.to_hub.push_back(Said::Ack(roots.clone()));
                self.agents[i].pins = roots;
            }
            Some(Said::Renew) => link.to_hub.push_back(Said::Csr),
            Some(Said::Certificate(root)) => {
                self.agents[i].certificate = root;
                self.dial(i);
            }
            Some(Said::Move) => self.dial(i),
            _ => {}
        }
    }

    fn hub_hears(&mut self, i: usize) {
        let signs = self.root(self.rotation.signs());
        let Some(link) = &mut self.agents[i].link else { return };
        match link.to_hub.pop_front() {
            Some(Said::Ack(roots)) => self.facts[i].acked = Some(roots),
            Some(Said::Csr) => {
                self.facts[i].certified = Some(signs);
                link.to_agent.push_back(Said::Certificate(signs));
            }
            _ => {}
        }
    }

    /// A new identity by a join token, with the pins that the hub gives out now.
    fn join(&mut self, i: usize) {
        let roots = self.roots(self.rotation.trusted_hubs());
        let signs = self.root(self.rotation.signs());
        self.facts[i] = Facts { acked: None, certified: Some(signs), ..self.facts[i].clone() };
        self.agents[i] = Agent { pins: roots, certificate: signs, up: true, link: None, lost: false };
    }

    fn operator(&mut self) {
        let accept = match self.chance.below(12) {
            0 => giving_up(&["c0"], 0),
            1 => giving_up(&[], 1),
            2 => giving_up(&["c1", "c2"], 4),
            _ => Acceptance::default(),
        };
        let step = match self.chance.below(12) {
            0..2 => Step::Prepare,
            2..9 => Step::Activate(accept),
            9 => Step::Rollback,
            10 => Step::Taint,
            _ => Step::Revoke(accept),
        };
        // Another operator may have been faster.
        let seen = self.rotation.revision() - u64::from(self.rotation.revision() > 0 && self.chance.below(8) == 0);
        let crash = self.chance.below(4) == 0;
        self.step(&step, seen, crash);
    }

    fn step(&mut self, step: &Step, seen: u64, crash: bool) -> bool {
        if self.rotation.seen_at(Some(seen)).is_err() {
            return false;
        }
        let Ok(Taken { rotation, keys }) = self.rotation.take(step, &self.members(), NOW) else { return false };
        for i in 0..AGENTS {
            self.agents[i].lost |= rotation.has_accepted(&format!("uid-{i}"));
            // Who is given up with the last step is not kept in the state after it.
            if let Step::Activate(accept) | Step::Revoke(accept) = step {
                let away = accept.offline > 0 && self.agents[i].link.is_none();
                self.agents[i].lost |= away || accept.names.contains(&format!("c{i}"));
            }
        }
        match keys {
            Keys::Keep => {}
            Keys::Make => {
                self.made += 1;
                self.next = Some(self.made);
            }
            Keys::Promote => {
                self.distrusted.insert(self.current);
                self.current = self.next.take().unwrap();
            }
            Keys::Discard => self.distrusted.extend(self.next.take()),
        }
        self.rotation = rotation;
        if self.rotation.phase() == Phase::Standby {
            for i in 0..AGENTS {
                self.agents[i].lost &= !self.may_link(i);
            }
        }
        let trusted = self.roots(self.rotation.trusted_agents());
        for i in 0..AGENTS {
            let cut = self.agents[i].link.as_ref().is_some_and(|l| crash || !trusted.contains(&l.certificate));
            if cut {
                self.agents[i].link = None;
            }
            self.tell(i);
        }
        true
    }

    fn anything(&mut self) {
        let i = self.chance.below(AGENTS);
        match self.chance.below(20) {
            0..3 if self.agents[i].link.is_none() => self.dial(i),
            0..8 => self.agent_hears(i),
            8..13 => self.hub_hears(i),
            13 => self.agents[i].link = None,
            14 => {
                (self.agents[i].up, self.agents[i].link) = (!self.agents[i].up, None);
            }
            15 => self.agents.iter_mut().for_each(|agent| agent.link = None),
            16 if self.agents[i].lost && !self.may_link(i) => self.join(i),
            _ => self.operator(),
        }
    }

    /// What must hold always.
    fn check(&self, story: &str) {
        let (agents, hubs) = (self.roots(self.rotation.trusted_agents()), self.roots(self.rotation.trusted_hubs()));
        assert!(agents.is_disjoint(&self.distrusted) && hubs.is_disjoint(&self.distrusted), "{story}: resurrected");
        assert!(agents.contains(&self.root(self.rotation.signs())), "{story}: signs what it does not trust");
        assert!(hubs.contains(&self.root(self.rotation.presents())), "{story}: presents what nobody was told");
        for (i, agent) in self.agents.iter().enumerate() {
            if let Some(link) = &agent.link {
                assert!(agents.contains(&link.certificate), "{story}: c{i} is linked by a distrusted root");
            }
            assert!(agent.lost || self.may_link(i), "{story}: c{i} is locked out and nobody gave it up");
            assert!(!agent.pins.is_empty(), "{story}: c{i} trusts nothing");
        }
    }

    /// Everybody is up and heard, and the operator goes on: the rotation ends.
    fn calm(&mut self, story: &str) {
        for _ in 0..8 {
            for i in 0..AGENTS {
                self.agents[i].up = true;
                if !self.may_link(i) {
                    self.join(i);
                }
                if self.agents[i].link.is_none() {
                    self.dial(i);
                }
                for _ in 0..40 {
                    self.agent_hears(i);
                    self.hub_hears(i);
                }
                self.tell(i);
                for _ in 0..40 {
                    self.agent_hears(i);
                    self.hub_hears(i);
                }
            }
            if self.rotation.phase() == Phase::Standby {
                break;
            }
            self.step(&go(), self.rotation.revision(), false);
            self.check(story);
        }
        assert_eq!(self.rotation.phase(), Phase::Standby, "{story}: wedged");
        assert_eq!(self.rotation.laggards(&self.members()), vec![], "{story}: not everybody knows the end");
        for agent in &self.agents {
            assert!(agent.pins == Roots::from([self.current]) && agent.certificate == self.current, "{story}");
        }
    }
}

#[test]
fn whatever_happens_no_agent_is_locked_out_nobody_else_is_let_in_and_the_rotation_ends() {
    let mut ended = 0;
    for seed in 1..=2_000 {
        let mut world = World::new(seed);
        (0..AGENTS).for_each(|i| world.dial(i));
        for step in 0..STEPS {
            world.anything();
            world.check(&format!("seed {seed}, step {step}"));
        }
        world.calm(&format!("seed {seed}, at the end"));
        ended += world.distrusted.len();
    }
    assert!(ended > 2_000, "hardly any rotation came to its end: {ended}");
}
