//! What follows from a controller's answers.

use super::*;

impl Manager {
    /// The controller's answer to the open question.
    pub fn answered(&mut self, answer: Answer, replicas: Option<&mut Replicas>, now_ns: u64) {
        let Some(Busy::Asking(_, from)) = self.busy.take() else {
            return;
        };
        self.heard(now_ns);
        match answer {
            Answer::Leader { is_leader, leader } => {
                // The address that was reached, rather than the one in the controller's own configuration.
                let leader = if is_leader { Some(from) } else { leader };
                let is_news = leader.is_some_and(|leader| is_leader || leader != from);
                self.found_leader(leader.filter(|_| is_news), now_ns);
            }
            Answer::KnowsLoss(knows) => {
                self.knows_loss = Some(knows);
                let text = match self.facts.lacks_acknowledged {
                    true => {
                        "this broker has lost acknowledged messages (a power cut): it is not to be elected before it has them from another, unless an operator elects it"
                    }
                    false => {
                        "a part of this broker's log cannot be read: another one is elected if it has all of it"
                    }
                };
                self.complain(text.into());
            }
            Answer::NextId(id) => {
                let check_code = self.settings.check_code.clone();
                let claim = Claim { id, check_code };
                self.busy = Some(Busy::SavingClaim(claim.clone()));
                self.ready.push(Action::SaveClaim(claim));
            }
            Answer::Applied => {
                if let Standing::Claims(Claim { id, .. }) = self.standing {
                    self.busy = Some(Busy::SavingIdentity(id));
                    self.ready.push(Action::SaveIdentity(id));
                }
            }
            Answer::Registered(decision) => self.registered(decision, replicas, now_ns),
            Answer::Elected(decision) => {
                self.elect_due_ns = now_ns + AGAIN_NS;
                self.decide(decision, "elected as there was no master", replicas, now_ns);
            }
            Answer::Decision(decision) => {
                self.decided_ns = Some(now_ns);
                self.decide(decision, "asked for", replicas, now_ns);
            }
            Answer::Altered(set) => self.altered(set, replicas, now_ns),
        }
    }

    fn found_leader(&mut self, leader: Option<SocketAddr>, now_ns: u64) {
        self.leader = leader;
        match leader {
            Some(_) => self.leader_due_ns = now_ns + self.settings.leader_ns,
            None => self.not_before_ns = now_ns + NEXT_CONTROLLER_NS,
        }
    }

    fn registered(
        &mut self,
        decision: Option<Decision>,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) {
        if let Standing::Named(id) = self.standing {
            self.standing = Standing::Registered(id);
        }
        self.heartbeat_due_ns = now_ns;
        self.decision_due_ns = now_ns + NO_MASTER_NS;
        match decision {
            Some(decision) => {
                self.decide(
                    decision,
                    "as registered at the controller",
                    replicas,
                    now_ns,
                );
            }
            None => self.lacks_master = true,
        }
    }

    fn altered(&mut self, set: SyncStateSet, replicas: Option<&mut Replicas>, now_ns: u64) {
        let Some(members) = replicas.and_then(Replicas::membership) else {
            return;
        };
        members.learned(set);
        if members.is_asking() {
            // A set that is not newer is no grant.
            self.lost_grant_ns.get_or_insert(now_ns);
            self.decision_due_ns = now_ns;
            self.not_before_ns = now_ns + AGAIN_NS;
        }
    }

    /// A notice of the controller (1008).
    pub fn notified(&mut self, decision: Decision, replicas: Option<&mut Replicas>, now_ns: u64) {
        if !self.has_resigned {
            self.decide(decision, "notified by the controller", replicas, now_ns);
        }
    }

    /// Somebody says that there is another master, and does not prove that it is a controller: the controllers are asked, not more often than each
    /// `UNPROVEN_GAP_NS`, and what they answer counts.
    pub fn notified_without_proof(&mut self, now_ns: u64) {
        let answered_ns = self.answered_ns.unwrap_or(0);
        let ask_ns = now_ns.max(answered_ns + UNPROVEN_GAP_NS);
        self.decision_due_ns = self.decision_due_ns.min(ask_ns);
    }

    /// The open question has no answer, or was refused.
    pub fn failed(&mut self, failure: &Failure, replicas: Option<&mut Replicas>, now_ns: u64) {
        let Some(Busy::Asking(ask, _)) = self.busy.take() else {
            return;
        };
        let refusal = match failure {
            Failure::NoAnswer(_) => {
                self.leader = None;
                self.not_before_ns = now_ns + NEXT_CONTROLLER_NS;
                if matches!(ask, Ask::Alter { .. }) {
                    self.lost_grant_ns.get_or_insert(now_ns);
                    self.decision_due_ns = now_ns;
                }
                return;
            }
            Failure::Refused(refusal, _) => *refusal,
        };
        self.heard(now_ns);
        if matches!(ask, Ask::Alter { .. })
            && matches!(refusal, Refusal::NotLeader | Refusal::Other)
        {
            // One that ceases to lead while the controllers agree does not know what comes of it.
            self.lost_grant_ns.get_or_insert(now_ns);
            self.decision_due_ns = now_ns;
        }
        if refusal == Refusal::NotLeader {
            self.leader = None;
            self.not_before_ns = now_ns + NEXT_CONTROLLER_NS;
            return;
        }
        self.not_before_ns = now_ns + AGAIN_NS;
        match ask {
            Ask::Alter { .. } => self.refused_set(refusal, replicas, now_ns),
            Ask::Elect(_) => {
                self.elect_due_ns = now_ns + AGAIN_NS;
                self.decision_due_ns = now_ns;
            }
            // Brokers that start together ask for the same number, and one of them gets it.
            Ask::Apply(_) if refusal == Refusal::IdTaken => {
                self.standing = Standing::Nameless;
                self.not_before_ns = now_ns + NEXT_CONTROLLER_NS;
            }
            Ask::Decision if refusal == Refusal::UnknownGroup => {
                if let Standing::Registered(id) = self.standing {
                    self.standing = Standing::Named(id);
                }
            }
            Ask::Register(id) if refusal == Refusal::NotRegistered => {
                self.not_before_ns = now_ns + HOPELESS_NS;
                self.complain(format!(
                    "the controller does not know broker {id} of this group: it was removed there, or the controllers have lost their state. \
                     To join as a new replica, stop this broker and remove {}",
                    identity::FILE
                ));
            }
            _ => self.complain(format!("a controller refuses: {failure}")),
        }
    }

    fn refused_set(&mut self, refusal: Refusal, replicas: Option<&mut Replicas>, now_ns: u64) {
        self.not_before_ns = now_ns;
        self.decision_due_ns = now_ns;
        // Epochs only rise: with these, no earlier copy of the question is granted either.
        let is_certain = matches!(refusal, Refusal::OtherMaster | Refusal::OtherSet);
        self.change_due_ns = now_ns
            + match is_certain {
                true => NEXT_SET_NS,
                false => AGAIN_NS,
            };
        let is_old = |lost_ns: u64| now_ns.saturating_sub(lost_ns) > LATE_GRANT_NS;
        if is_certain || self.lost_grant_ns.is_none_or(is_old) {
            self.lost_grant_ns = None;
            if let Some(members) = replicas.and_then(Replicas::membership) {
                members.refused();
            }
        } else {
            self.not_before_ns = now_ns + AGAIN_NS;
        }
    }

    fn decide(
        &mut self,
        decision: Decision,
        reason: &'static str,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) {
        let Some(own_id) = self.id() else { return };
        if decision.epoch < self.newest_epoch {
            return self.complain(format!(
                "a controller states the epoch {}, and {} was known: an old answer, or the controllers have lost their state",
                decision.epoch, self.newest_epoch
            ));
        }
        self.newest_epoch = decision.epoch;
        self.lacks_master = decision.master.is_none();
        self.decision_due_ns = now_ns
            + match self.lacks_master {
                true => NO_MASTER_NS,
                false => self.settings.decision_ns,
            };
        match decision.master {
            Some(master) if master.id == own_id => {
                self.lead(decision.epoch, decision.set, reason, replicas, now_ns);
            }
            master => {
                self.ending = None;
                self.follow(decision.epoch, master, reason);
                self.renew_links(now_ns);
            }
        }
    }

    fn lead(
        &mut self,
        epoch: i32,
        set: SyncStateSet,
        reason: &'static str,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) {
        if let Some(Role::Master { epoch: current, .. }) = self.role
            && current == epoch
        {
            self.are_links_stale = false;
            if let Some(members) = replicas.and_then(Replicas::membership) {
                members.learned(set);
            }
            return;
        }
        let newest = self.facts.last_epoch.map_or(0, |last| last.number);
        if epoch <= newest {
            self.decision_due_ns = now_ns + ENDING_ASK_NS;
            if self.ending.is_none_or(|ending| ending.epoch != epoch) {
                self.ending = Some(Ending {
                    epoch,
                    beat_ns: None,
                    is_closed: false,
                });
                let text = format!(
                    "this broker is master of epoch {epoch}, which it has begun before: it asks for a new one"
                );
                self.ready.push(Action::Log(text));
            }
            return;
        }
        self.ending = None;
        self.lost_grant_ns = None;
        self.reports.resume(now_ns);
        let role = Role::Master { epoch, set };
        self.role = Some(role.clone());
        self.ready.push(Action::TakeRole { role, reason });
    }

    /// A slave's next heartbeats take new connections, if those that it has may be stale: the controller lets it into the set only once it has heard it. Not a
    /// master's: a controller that has not noticed the silence would take its closed connection for its death.
    fn renew_links(&mut self, now_ns: u64) {
        if std::mem::take(&mut self.are_links_stale)
            && let Standing::Registered(_) = self.standing
        {
            self.ready.push(Action::CloseHeartbeats);
            self.heartbeat_due_ns = now_ns;
        }
    }

    fn follow(&mut self, epoch: i32, master: Option<Master>, reason: &'static str) {
        let role = Role::Slave { epoch, master };
        let is_known = match &self.role {
            Some(Role::Slave {
                master: current, ..
            }) => *current == master,
            Some(Role::Master { .. }) => false,
            // A slave without a master gains nothing.
            None => master.is_none(),
        };
        if self.role.is_some() {
            self.role = Some(role.clone());
        }
        if !is_known {
            self.role = Some(role.clone());
            self.ready.push(Action::TakeRole { role, reason });
        }
    }
}
