//! The processes of the scene: halted, killed and started again by their part in the handoff.

use jikai_tests::machines::Machines;
use jikai_tests::process::{Process, wait_until};

use super::scene::{Role, Scene};

/// What the hub consists of.
pub enum HubOf {
    /// One machine.
    One,
    /// Three voters, the first of which is the scene's hub.
    Three {
        /// The other two.
        machines: Machines,
        /// Who led when it was last looked at.
        leader: u16,
    },
}

impl Scene {
    /// Two more machines join the hub.
    pub fn grow_hub(&mut self) {
        let mut machines = Machines::beside(&self.running.hub);
        for _ in 0..2 {
            let number = machines.join(false);
            machines.add(number);
        }
        self.hub = HubOf::Three { machines, leader: 1 };
    }

    fn node_process(&mut self, number: u16) -> &mut Process {
        if number == 1 { &mut self.running.node.process } else { &mut self.second.process }
    }

    /// Halts it, the hub with all of its machines.
    pub fn pause(&mut self, role: Role) {
        if role == Role::Hub {
            self.note_leader();
        }
        self.each(role, |process| process.pause());
    }

    /// Lets it go on.
    pub fn resume(&mut self, role: Role) {
        self.each(role, |process| process.resume());
    }

    fn each(&mut self, role: Role, act: impl Fn(&Process)) {
        match (role, &self.hub) {
            (Role::Hub, HubOf::One) => act(&self.running.hub.process),
            (Role::Hub, HubOf::Three { machines, .. }) => {
                act(&self.running.hub.process);
                machines.all.iter().filter_map(|machine| machine.process.as_ref()).for_each(act);
            }
            _ => act(self.node_process(self.number(role))),
        }
    }

    /// Looks who leads, while somebody can be asked.
    pub fn note_leader(&mut self) {
        if let HubOf::Three { leader, .. } = &mut self.hub {
            let hub = &self.running.hub;
            wait_until("a leader", || {
                let told = hub.get("/v1/cluster")["leader"].as_u64().and_then(|told| u16::try_from(told).ok());
                *leader = told.unwrap_or(0);
                told.is_some()
            });
        }
    }

    /// Kills it (SIGKILL); of several machines of the hub the one that leads, and the others go on.
    pub fn kill(&mut self, role: Role, is_paused: bool) {
        if role == Role::Hub && !is_paused {
            self.note_leader();
        }
        let number = self.number(role);
        match (role, &mut self.hub) {
            (Role::Hub, HubOf::One) => self.running.hub.process.kill(),
            (Role::Hub, HubOf::Three { machines, leader }) => {
                match *leader {
                    1 => self.running.hub.process.kill(),
                    other => {
                        machines.kill(other);
                        self.running.hub.process.resume();
                    }
                }
                machines.all.iter().filter_map(|machine| machine.process.as_ref()).for_each(Process::resume);
            }
            _ => self.node_process(number).kill(),
        }
    }

    /// Starts it again; of several machines of the hub the one that led, once another one does.
    pub fn restart(&mut self, role: Role) {
        match (role, self.number(role)) {
            (Role::Hub, _) => self.restart_hub(),
            (_, 1) => self.running.node.restart(),
            _ => self.second.restart(),
        }
    }

    fn restart_hub(&mut self) {
        let HubOf::Three { machines, leader: killed } = &mut self.hub else { return self.running.hub.restart() };
        let (killed, witness) = (*killed, if *killed == 2 { 3 } else { 2 });
        machines.wait_for_leader(witness, |leader| leader != killed);
        match killed {
            1 => self.running.hub.restart(),
            other => machines.restart(other),
        }
        self.note_leader();
    }

    /// All machines of the hub hold the same rows.
    pub fn assert_machines_agree(&self) {
        let HubOf::Three { machines, .. } = &self.hub else { return };
        let digest = |number| machines.command(number, &["digest", "--all"]);
        for number in [2, 3] {
            wait_until("equal states of the machines", || digest(number) == digest(1));
        }
    }
}
