//! One schedule: what a seed makes of nodes, clients, stores and faults.

use std::sync::Arc;
use std::time::Duration;

use headroom::clock::Clock;
use headroom::counters::Scripts;
use headroom::counters::keys;
use headroom::domain::Catalogue;
use headroom::quota::Guards;

use super::calls::Calls;
use super::calls::Fate;
use super::clients::Clients;
use super::clients::SUBJECTS;
use super::node::Node;
use super::node::Setup;
use super::postgres::Postgres;
use super::redis::Keyspace;
use super::redis::Server;
use super::tasks::Tasks;
use crate::random::Dice;
use crate::support::mutant::tampering;

/// When every schedule begins: 2100-01-01T23:58:00Z, two minutes before a day ends.
pub const START_MS: i64 = 4_102_531_080_000;
/// Messages of a subject a day and a month.
pub const MAX_A_DAY: i64 = 6;
pub const MAX_A_MONTH: i64 = 9;
const NODES: u64 = 2;
const STEPS: u64 = 250;
/// Images of Redis that may come back.
const IMAGES_MAX: usize = 4;

/// The product, or what is left of it when a guard is taken away to show that the simulation finds it.
pub struct Product {
    scripts: Arc<Scripts>,
    guards: Guards,
    catalogue: Catalogue,
}

impl Product {
    /// Without these guards of the scripts, and with those of the loops.
    pub fn without(scripts_off: &[&'static str], guards: Guards) -> Self {
        let scripts = Arc::new(Scripts::new(&tampering(scripts_off)));
        Self { scripts, guards, catalogue: catalogue() }
    }

    pub fn whole() -> Self {
        Self::without(&[], Guards::default())
    }
}

/// How likely what is, in so many of 1,000 steps. Drawn once a schedule, so that some have much of one thing.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    ask: u64,
    flush: u64,
    sweep: u64,
    wait: u64,
    cut: u64,
    crash: u64,
    pub forget: u64,
    look: u64,
    pub lose: u64,
    /// Of 100 calls of the ledger.
    ledger: u64,
    /// Of 100 calls.
    hold: u64,
}

impl Mix {
    fn draw(dice: &mut Dice, is_lossy: bool) -> Self {
        let mut upto = |most: u64| if dice.below(2) == 0 { 0 } else { dice.below(most + 1) };
        Self {
            ask: 80 + upto(150),
            flush: 40 + upto(150),
            sweep: upto(30),
            wait: 30 + upto(60),
            cut: upto(40),
            crash: upto(15),
            forget: upto(30),
            look: upto(30),
            lose: if is_lossy { 4 + upto(20) } else { 0 },
            ledger: upto(10),
            hold: upto(30),
        }
    }
}

/// Everything that a schedule moves.
pub struct Schedule {
    pub dice: Dice,
    pub mix: Mix,
    setup: Setup,
    pub redis: Server,
    pub postgres: Postgres,
    pub calls: Calls,
    pub tasks: Tasks,
    pub nodes: Vec<Node>,
    pub clients: Clients,
    pub now_ms: i64,
    pub step: u64,
    lives: u64,
    images: Vec<Keyspace>,
    pub crashes: u64,
    pub losses: u64,
    /// Events that Redis had accepted and has forgotten.
    pub lost_events: u64,
    /// Whether calls still fail.
    pub is_faulty: bool,
    pub trace: Vec<String>,
    /// What Redis was asked and what it answered, and when.
    pub record: Option<Vec<Exchange>>,
}

/// What one step does.
type Action = fn(&mut Schedule);

/// Commands, the answer, and the time at which it was made.
pub struct Exchange {
    pub now_ms: i64,
    pub commands: Vec<u8>,
    pub answer: Vec<u8>,
}

impl Schedule {
    pub fn new(seed: u64, is_lossy: bool, product: &Product) -> Self {
        let mut dice = Dice::new(seed);
        let mix = Mix::draw(&mut dice, is_lossy);
        let setup = Setup {
            catalogue: product.catalogue.clone(),
            scripts: product.scripts.clone(),
            guards: product.guards,
            trim_lag: Duration::from_secs(dice.choose(&[0, 0, 5])),
        };
        let mut schedule = Self {
            dice,
            mix,
            setup,
            redis: Server::new(START_MS),
            postgres: Postgres::new(),
            calls: Calls::default(),
            tasks: Tasks::default(),
            nodes: Vec::new(),
            clients: Clients::default(),
            now_ms: START_MS,
            step: 0,
            lives: 0,
            images: Vec::new(),
            crashes: 0,
            losses: 0,
            lost_events: 0,
            is_faulty: true,
            trace: Vec::new(),
            record: None,
        };
        for place in 0..NODES {
            schedule.start_node(place);
        }
        schedule
    }

    /// Starts a node whose clock may be wrong.
    fn start_node(&mut self, place: u64) {
        self.lives += 1;
        let clock = Clock::with_offset_ms(0);
        clock.stop_at(self.now_ms);
        let (setup, calls) = (&self.setup, &self.calls);
        let node = Node::start(self.lives, setup, clock, calls, &mut self.tasks);
        let place = usize::try_from(place).unwrap();
        if place < self.nodes.len() {
            self.nodes[place] = node;
        } else {
            self.nodes.push(node);
        }
    }

    /// All steps with faults.
    pub fn run(&mut self) {
        while self.step < STEPS {
            self.step += 1;
            self.tasks.run();
            self.one_step();
        }
    }

    fn one_step(&mut self) {
        let mix = self.mix;
        let actions: [(u64, Action); 9] = [
            (mix.ask, Self::ask),
            (mix.flush, Self::flush),
            (mix.look, Self::look_for_losses),
            (mix.sweep, Self::sweep),
            (mix.wait, Self::wait),
            (mix.cut, Self::cut_one),
            (mix.crash, Self::crash),
            (mix.forget, Self::forget),
            (mix.lose, Self::lose),
        ];
        let mut chance = self.dice.below(1_000);
        for (likely, action) in actions {
            if chance < likely {
                return action(self);
            }
            chance -= likely;
        }
        self.answer_one();
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.dice.below(NODES)).unwrap()
    }

    fn ask(&mut self) {
        let place = self.node();
        let node = (self.nodes[place].life, &self.nodes[place].quota);
        let asked = self.clients.ask(&mut self.dice, self.now_ms, node, &mut self.tasks);
        self.note(|| format!("node {place} is asked: {asked}"));
    }

    fn flush(&mut self) {
        let place = self.node();
        self.nodes[place].flush(&mut self.tasks);
        self.note(|| format!("node {place} flushes"));
    }

    fn look_for_losses(&mut self) {
        let place = self.node();
        self.nodes[place].look_for_losses(&mut self.tasks);
        self.note(|| format!("node {place} looks for losses"));
    }

    fn sweep(&mut self) {
        let place = self.node();
        self.nodes[place].sweep(&mut self.tasks);
        self.note(|| format!("node {place} sweeps"));
    }

    /// Time passes: milliseconds, seconds, and now and then half a minute.
    fn wait(&mut self) {
        let longest_ms = self.dice.choose(&[50, 50, 2_000, 2_000, 30_000]);
        let ms = self.dice.below(longest_ms).cast_signed();
        self.advance(ms);
    }

    pub fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        self.redis.advance(ms);
        self.nodes.iter().for_each(|node| node.clock.stop_at(self.now_ms));
        self.note(|| format!("{ms} ms pass"));
    }

    /// A node dies, and another takes its place.
    fn crash(&mut self) {
        let place = self.node();
        let life = self.nodes[place].life;
        self.tasks.kill(life);
        self.lose_calls_of(life);
        self.crashes += 1;
        self.note(|| format!("node {place} dies"));
        self.start_node(place as u64);
    }

    /// Redis forgets what it may: its scripts, the record of a hold, or a subject.
    fn forget(&mut self) {
        if self.dice.below(3) == 0 {
            self.redis.forget_scripts();
            return self.note(|| "redis forgets its scripts".to_owned());
        }
        let holds = self.redis.holds();
        if self.dice.below(2) == 0 && !holds.is_empty() {
            let place = usize::try_from(self.dice.below(holds.len() as u64)).unwrap();
            self.redis.remove(&holds[place]);
            return self.note(|| format!("redis forgets the hold {place}"));
        }
        let subject = self.dice.choose(&SUBJECTS);
        self.redis.remove(keys::subject(0, subject).as_bytes());
        self.note(|| format!("redis forgets {subject}"));
    }

    /// An image is taken, or an earlier one comes back: a failover to a replica that lags, a restored snapshot.
    fn lose(&mut self) {
        if self.images.len() < IMAGES_MAX && self.dice.below(2) == 0 {
            self.images.push(self.redis.image());
            return self.note(|| "an image of redis is taken".to_owned());
        }
        self.cut_all();
        let image = match self.dice.below(self.images.len() as u64 + 1) {
            0 => Keyspace::new(self.now_ms),
            place => self.images.swap_remove(usize::try_from(place).unwrap() - 1),
        };
        let (before, after) = (self.redis.events(), image.events);
        self.lost_events += before - after.min(before);
        self.losses += 1;
        self.clients.history.borrow_mut().losses = self.losses;
        self.redis.restart(image);
        self.note(|| format!("redis goes back from {before} events to {after}"));
    }

    /// What the ledger's call becomes.
    pub fn fate(&mut self) -> Fate {
        let is_hit = self.is_faulty && self.dice.below(100) < self.mix.ledger;
        if is_hit { self.dice.choose(&[Fate::Lost, Fate::Unanswered]) } else { Fate::Answered }
    }

    /// Whether a call stays where it is for now.
    pub fn is_held(&mut self) -> bool {
        self.is_faulty && self.dice.below(100) < self.mix.hold
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let text = text();
        self.trace.push(format!("{:>4} {text}", self.step));
    }
}

fn catalogue() -> Catalogue {
    let limits = format!(
        "[{{ metric = \"messages\", period = \"day\", max = {MAX_A_DAY} }}, \
         {{ metric = \"messages\", period = \"month\", max = {MAX_A_MONTH} }}]"
    );
    let text = format!(
        "metrics = [\"messages\"]\ndefault_plan = \"only\"\n[plans.only]\nlimits = {limits}\n"
    );
    Catalogue::parse(&text).unwrap()
}
