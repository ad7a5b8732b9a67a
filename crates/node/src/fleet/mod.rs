//! Hollow nodes: a fleet of nodes whose pods go through their states without processes, for scale tests and demonstrations.
//!
//! A kubelet has a task per pod. Here one task drives all pods of all hollow nodes: one watch, one queue of what is due, and leases that are
//! renewed together. What happens to a pod is in [`step`], a pure function, and how its life goes in [`course`]: data.

mod course;
mod node;
mod step;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use knarr_clock::Clock;
use knarr_stream::backend::Backend;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::until;
use crate::node::{RENEWAL, acquire, touch};
use crate::options::Capacity;
use crate::pod::state::{PodState, declared};
use crate::pod::{Key, key, uid};
use crate::status::{self, Reporter};
use course::Course;
use node::{Door, Running};
use step::Next;

pub use node::CAPACITY;

/// The scheme of container IDs.
const SCHEME: &str = "hollow";
/// Leases renewed at the same time.
const TOGETHER: usize = 16;

/// A hollow node that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct HollowNode {
    /// What it has.
    pub capacity: Capacity,
    /// Its annotations: how its pods' lives go.
    pub annotations: BTreeMap<String, String>,
    /// It is cut off: its pods go on, and nobody hears of it.
    pub cut: bool,
    /// It counts as lost.
    pub given_up: bool,
}

/// The hollow nodes that are wanted, by name.
pub type Wanted = BTreeMap<String, HollowNode>;

/// Registers what serves the requests for the pods of a node, or takes it away.
pub type Open = dyn Fn(&str, Option<Arc<dyn Backend>>) + Send + Sync;

/// How a node acts and is reached.
pub struct Doors {
    /// Makes a client that acts as the kubelet of the node of that name.
    pub client: Box<dyn Fn(&str) -> Client + Send + Sync>,
    /// Says by what the node of that name is reached, if it is.
    pub open: Box<Open>,
}

struct Member {
    wanted: HollowNode,
    client: Client,
    ip: IpAddr,
    running: Arc<Running>,
}

struct Life {
    pod: Arc<Pod>,
    node: String,
    ip: IpAddr,
    course: Course,
    state: PodState,
    status: PodStatus,
    reporter: Reporter,
    /// When something is due for it.
    next: Option<Timestamp>,
}

/// Drives hollow nodes.
struct Fleet {
    client: Client,
    doors: Doors,
    clock: Clock,
    shutdown: CancellationToken,
    workers: TaskTracker,
    members: BTreeMap<String, Member>,
    lives: HashMap<Key, Life>,
    due: BinaryHeap<Reverse<(Timestamp, Key)>>,
    /// Nodes and pods so far, for their addresses.
    nodes: u32,
    pods: u32,
}

/// Drives the hollow nodes that are wanted until `shutdown`. `client` sees all pods.
pub async fn run(
    client: Client,
    doors: Doors,
    clock: Clock,
    mut wanted: watch::Receiver<Wanted>,
    shutdown: CancellationToken,
) {
    let mut fleet = Fleet {
        client,
        doors,
        clock,
        shutdown: shutdown.clone(),
        workers: TaskTracker::new(),
        members: BTreeMap::new(),
        lives: HashMap::new(),
        due: BinaryHeap::new(),
        nodes: 0,
        pods: 0,
    };
    shutdown.run_until_cancelled_owned(fleet.drive(&mut wanted)).await;
}

impl Fleet {
    async fn drive(&mut self, wanted: &mut watch::Receiver<Wanted>) {
        // Without hollow nodes nothing is watched.
        if wanted.wait_for(|wanted| !wanted.is_empty()).await.is_err() {
            return;
        }
        wanted.mark_changed();
        let pods: Api<Pod> = Api::all(self.client.clone());
        let pods = watcher(pods, watcher::Config::default()).default_backoff();
        let mut pods = std::pin::pin!(pods.modify(|pod| pod.metadata.managed_fields = None));
        let mut listed: HashSet<Key> = HashSet::new();
        let mut renewals = tokio::time::interval(RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due.peek().map(|Reverse((at, _))| until(self.clock.now(), *at));
            let next = Instant::now() + due.unwrap_or(Duration::from_secs(3600));
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = wanted.borrow_and_update().clone();
                    self.settle(wanted).await;
                }
                Some(event) = pods.next() => match event {
                    Ok(watcher::Event::Init) => listed.clear(),
                    Ok(watcher::Event::InitApply(pod)) => {
                        listed.insert(key(&pod));
                        self.see(pod);
                    }
                    Ok(watcher::Event::InitDone) => {
                        let gone: Vec<Key> = self.lives.keys().filter(|key| !listed.contains(key)).cloned().collect();
                        gone.iter().for_each(|key| self.forget(key));
                    }
                    Ok(watcher::Event::Apply(pod)) => self.see(pod),
                    Ok(watcher::Event::Delete(pod)) => self.forget(&key(&pod)),
                    Err(error) => tracing::debug!(%error, "watch of pods interrupted"),
                },
                _ = renewals.tick() => self.renew(),
                () = tokio::time::sleep_until(next) => self.wake(),
            }
        }
    }

    /// Makes the fleet what is wanted.
    async fn settle(&mut self, wanted: Wanted) {
        let gone: Vec<String> = self
            .members
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            (self.doors.open)(&name, None);
            self.members.remove(&name);
            self.lives.retain(|_, life| life.node != name);
        }
        for (name, wanted) in wanted {
            let known = self.members.get(&name).map(|member| member.wanted.clone());
            if known.as_ref() == Some(&wanted) {
                continue;
            }
            let was_reached = known.as_ref().is_some_and(|known| !known.cut);
            let member = match self.members.remove(&name) {
                Some(member) => Member { wanted, ..member },
                None => self.member(&name, wanted),
            };
            let (cut, given_up) = (member.wanted.cut, member.wanted.given_up);
            if cut {
                (self.doors.open)(&name, None);
            } else {
                let (has, now) = (member.wanted.capacity, self.clock.now_seconds());
                if (given_up || known.is_none())
                    && let Err(error) = node::announce(&member.client, &name, member.ip, has, now).await
                {
                    tracing::warn!(node = name, %error, "The hollow node is not announced");
                }
                let door = Door {
                    running: member.running.clone(),
                    clock: self.clock.clone(),
                    has,
                };
                (self.doors.open)(&name, Some(Arc::new(door)));
            }
            let (client, came_back) = (member.client.clone(), known.is_some() && !was_reached && !cut);
            let is_new = known.is_none();
            self.members.insert(name.clone(), member);
            if is_new {
                renew(&client, &name, &self.clock).await;
                self.adopt(&client, &name).await;
            }
            if came_back {
                self.catch_up(&name);
            }
        }
    }

    fn member(&mut self, name: &str, wanted: HollowNode) -> Member {
        self.nodes += 1;
        Member {
            wanted,
            client: (self.doors.client)(name),
            ip: node::node_ip(self.nodes),
            running: Arc::default(),
        }
    }

    /// Takes on the pods that were bound to a node before it was one of ours.
    async fn adopt(&mut self, client: &Client, name: &str) {
        let own = ListParams::default().fields(&format!("spec.nodeName={name}"));
        match Api::<Pod>::all(client.clone()).list(&own).await {
            Ok(pods) => pods.items.into_iter().for_each(|pod| self.see(pod)),
            Err(error) => tracing::debug!(%error, "the pods of a hollow node are not listed"),
        }
    }

    /// What a node has missed while it was cut off.
    fn catch_up(&mut self, name: &str) {
        let own = self.lives.iter().filter(|(_, life)| life.node == name);
        let keys: Vec<Key> = own.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.advance(key));
    }

    /// A pod has appeared or changed.
    fn see(&mut self, pod: Pod) {
        let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
            return;
        };
        let Some(member) = self.members.get(&name) else {
            return;
        };
        let key = key(&pod);
        let known = self.lives.get_mut(&key).filter(|life| uid(&life.pod) == uid(&pod));
        match known {
            Some(life) => {
                let wish = |pod: &Pod| {
                    let meta = &pod.metadata;
                    (
                        meta.deletion_timestamp.clone(),
                        meta.generation,
                        meta.annotations.clone(),
                    )
                };
                // Most news is of what has been reported from here.
                let is_news = wish(&life.pod) != wish(&pod);
                if is_news {
                    life.course = Course::of(&pod, &member.wanted.annotations);
                }
                life.pod = Arc::new(pod);
                if !is_news {
                    return;
                }
            }
            None => {
                self.forget(&key);
                let Some(member) = self.members.get(&name) else { return };
                self.pods += 1;
                let reported = pod.status.clone().unwrap_or_default();
                let (workers, shutdown) = (self.workers.clone(), self.shutdown.clone());
                let life = Life {
                    ip: node::pod_ip(self.pods),
                    course: Course::of(&pod, &member.wanted.annotations),
                    state: step::begin(&pod, self.clock.now_seconds()),
                    status: reported.clone(),
                    reporter: Reporter::new(reported, member.client.clone(), workers, shutdown),
                    pod: Arc::new(pod),
                    node: name,
                    next: None,
                };
                self.lives.insert(key.clone(), life);
            }
        }
        self.advance(&key);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(life) = self.lives.remove(key)
            && let Some(member) = self.members.get(&life.node)
        {
            member.running.remove(uid(&life.pod));
        }
    }

    /// Looks at the pods that something is due for.
    fn wake(&mut self) {
        let now = self.clock.now();
        while let Some(Reverse((at, _))) = self.due.peek()
            && *at <= now
        {
            if let Some(Reverse((at, key))) = self.due.pop()
                // It may have become another time since.
                && self.lives.get(&key).is_some_and(|life| life.next == Some(at))
            {
                self.advance(&key);
            }
        }
    }

    /// Brings a pod to where it is now, and reports.
    fn advance(&mut self, key: &Key) {
        let Some(life) = self.lives.get_mut(key) else { return };
        let before = life.next.take();
        let Some(member) = self.members.get(&life.node).filter(|member| !member.wanted.cut) else {
            return;
        };
        let now = self.clock.now();
        let next = step::step(&life.pod, &mut life.state, &life.course, life.ip, now);
        let node = status::Node {
            host_ip: member.ip,
            scheme: SCHEME.to_owned(),
        };
        let previous = status::previous(&life.status, &life.pod);
        let seconds = self.clock.now_seconds();
        life.status = status::compute(&life.pod, &declared(&life.pod), &life.state, &previous, &node, seconds);
        let finished = next == Next::Finished;
        life.reporter.set(life.pod.clone(), life.status.clone(), finished);
        if life.state.containers.iter().any(|container| container.running()) {
            member.running.insert(life.pod.clone(), life.course.clone());
        } else {
            member.running.remove(uid(&life.pod));
        }
        if let Next::At(at) = next {
            life.next = Some(at);
            if before != Some(at) || at <= now {
                self.due.push(Reverse((at, key.clone())));
            }
        }
    }

    /// Renews the leases of all nodes that are not cut off.
    fn renew(&self) {
        let reached = self.members.iter().filter(|(_, member)| !member.wanted.cut);
        let reached: Vec<(String, Client)> = reached
            .map(|(name, member)| (name.clone(), member.client.clone()))
            .collect();
        let clock = self.clock.clone();
        let renewing = async move {
            let leases = futures::stream::iter(reached).map(|(name, client)| {
                let clock = clock.clone();
                async move { renew(&client, &name, &clock).await }
            });
            leases
                .buffer_unordered(TOGETHER)
                .for_each(|()| std::future::ready(()))
                .await;
        };
        self.workers
            .spawn(self.shutdown.clone().run_until_cancelled_owned(renewing));
    }
}

/// Renews a node's lease, or makes it.
async fn renew(client: &Client, name: &str, clock: &Clock) {
    let renewed = match touch(client, name, clock).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => acquire(client, name, clock).await,
        renewed => renewed,
    };
    if let Err(error) = renewed {
        tracing::debug!(%error, node = name, "lease not renewed");
    }
}
