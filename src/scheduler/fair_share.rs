//! Weighted fair shares among projects and, within each, among users: virtual-time fair queuing.
//!
//! A tenant's share is `weight of its project × weight of its user / weights of the project's users that wait`. Taking a task of `c`
//! device seconds moves the tenant's tag by `c / share` and the virtual time by `c / weights of the projects that wait`: a tenant whose tag
//! is behind the virtual time has had less than its share since it began to wait. A tenant that begins to wait starts at the virtual time, or
//! at its own tag where that is ahead: idling earns nothing, and leaving and coming back evades nothing. A tenant that was held up (by a
//! cap) keeps at most [`MOST_CREDIT_SECONDS`] of its arrears.
//!
//! (Start-time fair queuing, Goyal, Vin and Cheng 1996, with the fluid clock of Demers, Keshav and Shenker 1989.)

use std::cmp::Ordering;
use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::fleet::Shares;
use super::queue_view::Tenant;
use crate::domain::{ProjectId, UserId};

/// Device seconds, at the tenant's own share, that a level of priority puts a tenant's turn forward among tenants. It moves the turn and
/// not the share: what is taken early is charged all the same.
pub const LEVEL_SECONDS: f64 = 30.0;
/// Levels beyond this count as this one among tenants, so that nobody gets further ahead of others than ten minutes of its share.
pub const MOST_SHARE_LEVELS: i32 = 20;
/// Device seconds, at the tenant's own share, that a tenant may be behind and still catch up on.
pub const MOST_CREDIT_SECONDS: f64 = 600.0;
/// Weights are kept within these: nobody's is nothing, and none overflows.
const WEIGHTS: (f64, f64) = (1e-3, 1e6);

/// A point of virtual time that can be sorted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tag(pub f64);

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Tag {}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Every user has the same share, and none has a cap.
#[derive(Clone, Copy, Debug, Default)]
pub struct EqualShares;

impl Shares for EqualShares {
    fn user_weight(&self, _: &UserId) -> f64 {
        1.0
    }
    fn project_weight(&self, _: Option<&ProjectId>) -> f64 {
        1.0
    }
    fn user_concurrency(&self, _: &UserId) -> Option<u32> {
        None
    }
    fn project_concurrency(&self, _: &ProjectId) -> Option<u32> {
        None
    }
}

#[derive(Debug)]
struct Member {
    tenant: Tenant,
    project: u32,
    weight: f64,
    tag: f64,
    waits: bool,
}

#[derive(Debug, Default)]
struct Project {
    id: Option<ProjectId>,
    weight: f64,
    /// Of the users that wait.
    waiting_weight: f64,
    waiting: u32,
    members: u32,
}

/// Who has had how much.
#[derive(Debug, Default)]
pub(super) struct FairShare {
    members: Vec<Option<Member>>,
    projects: Vec<Project>,
    member_numbers: HashMap<Tenant, u32>,
    project_numbers: HashMap<Option<ProjectId>, u32>,
    free_members: Vec<u32>,
    free_projects: Vec<u32>,
    /// Members that wait, by tag.
    waiting: BTreeSet<(Tag, u32)>,
    /// Members that do not, by tag: forgotten when the virtual time has passed it.
    idle: BTreeSet<(Tag, u32)>,
    virtual_time: f64,
    waiting_weight: f64,
    waiting_projects: u32,
}

impl FairShare {
    /// The tenant's number, which it keeps at least until it stops waiting.
    pub(super) fn number(&mut self, tenant: Tenant) -> u32 {
        if let Some(&number) = self.member_numbers.get(&tenant) {
            return number;
        }
        let project = if let Some(&number) = self.project_numbers.get(&tenant.project) {
            number
        } else {
            let number = self.free_projects.pop().unwrap_or(self.projects.len() as u32);
            if number as usize == self.projects.len() {
                self.projects.push(Project::default());
            }
            self.projects[number as usize] = Project { id: tenant.project.clone(), ..Project::default() };
            self.project_numbers.insert(tenant.project.clone(), number);
            number
        };
        self.projects[project as usize].members += 1;
        let number = self.free_members.pop().unwrap_or(self.members.len() as u32);
        if number as usize == self.members.len() {
            self.members.push(None);
        }
        self.member_numbers.insert(tenant.clone(), number);
        self.members[number as usize] = Some(Member { tenant, project, weight: 1.0, tag: self.virtual_time, waits: false });
        self.idle.insert((Tag(self.virtual_time), number));
        number
    }

    pub(super) fn tenant(&self, number: u32) -> Option<&Tenant> {
        self.members.get(number as usize)?.as_ref().map(|member| &member.tenant)
    }

    /// The member has its first task waiting.
    pub(super) fn begin(&mut self, number: u32, shares: &dyn Shares) {
        let Some(member) = self.members[number as usize].as_mut() else { return };
        if member.waits {
            return;
        }
        self.idle.remove(&(Tag(member.tag), number));
        member.waits = true;
        member.tag = member.tag.max(self.virtual_time);
        member.weight = within(shares.user_weight(&member.tenant.user));
        self.waiting.insert((Tag(member.tag), number));
        let project = &mut self.projects[member.project as usize];
        if project.waiting == 0 {
            project.weight = within(shares.project_weight(project.id.as_ref()));
            self.waiting_projects += 1;
            self.waiting_weight += project.weight;
        }
        project.waiting += 1;
        project.waiting_weight += member.weight;
    }

    /// The member has nothing waiting any more.
    pub(super) fn end(&mut self, number: u32) {
        let Some(member) = self.members[number as usize].as_mut() else { return };
        if !member.waits {
            return;
        }
        member.waits = false;
        self.waiting.remove(&(Tag(member.tag), number));
        self.idle.insert((Tag(member.tag), number));
        let project = &mut self.projects[member.project as usize];
        project.waiting -= 1;
        // Sums of floats drift; an empty one is exactly nothing.
        project.waiting_weight = if project.waiting == 0 { 0.0 } else { project.waiting_weight - member.weight };
        if project.waiting == 0 {
            self.waiting_projects -= 1;
            self.waiting_weight = if self.waiting_projects == 0 { 0.0 } else { self.waiting_weight - project.weight };
        }
        self.forget();
    }

    /// Charges a member that waits.
    pub(super) fn charge(&mut self, number: u32, device_seconds: f64) {
        let share = self.share(number);
        let Some(member) = self.members[number as usize].as_mut().filter(|member| member.waits) else { return };
        self.waiting.remove(&(Tag(member.tag), number));
        member.tag = member.tag.max(self.virtual_time - MOST_CREDIT_SECONDS / share) + device_seconds / share;
        self.waiting.insert((Tag(member.tag), number));
        self.virtual_time += device_seconds / self.waiting_weight.max(WEIGHTS.0);
        self.forget();
    }

    /// Takes a charge back, but for what it moved the virtual time: that only ever goes forward. Gives the tenant's number while it has one.
    pub(super) fn refund(&mut self, tenant: &Tenant, device_seconds: f64) -> Option<u32> {
        let number = *self.member_numbers.get(tenant)?;
        let refund = if device_seconds.is_finite() { device_seconds.max(0.0) / self.share(number) } else { 0.0 };
        let member = self.members[number as usize].as_mut()?;
        let order = if member.waits { &mut self.waiting } else { &mut self.idle };
        order.remove(&(Tag(member.tag), number));
        member.tag -= refund;
        order.insert((Tag(member.tag), number));
        Some(number)
    }

    /// Reads the weights of all that wait anew. What was charged so far stays charged.
    pub(super) fn reweigh(&mut self, shares: &dyn Shares) {
        self.waiting_weight = 0.0;
        for project in self.projects.iter_mut().filter(|project| project.waiting > 0) {
            project.weight = within(shares.project_weight(project.id.as_ref()));
            project.waiting_weight = 0.0;
            self.waiting_weight += project.weight;
        }
        for member in self.members.iter_mut().flatten().filter(|member| member.waits) {
            member.weight = within(shares.user_weight(&member.tenant.user));
            self.projects[member.project as usize].waiting_weight += member.weight;
        }
    }

    /// What the member gets of everything that is served, in units of a project of weight 1.
    pub(super) fn share(&self, number: u32) -> f64 {
        let Some(member) = &self.members[number as usize] else { return 1.0 };
        let project = &self.projects[member.project as usize];
        project.weight.max(WEIGHTS.0) * member.weight / project.waiting_weight.max(member.weight)
    }

    pub(super) fn tag(&self, number: u32) -> f64 {
        self.members[number as usize].as_ref().map_or(self.virtual_time, |member| member.tag)
    }

    /// When the member's turn is with a task of this priority: its tag, put forward or back.
    pub(super) fn turn(&self, number: u32, priority: i32) -> Tag {
        let levels = f64::from(priority.clamp(-MOST_SHARE_LEVELS, MOST_SHARE_LEVELS));
        Tag(self.tag(number) - levels * LEVEL_SECONDS / self.share(number))
    }

    pub(super) const fn virtual_time(&self) -> f64 {
        self.virtual_time
    }

    /// The members that wait, those that have had the least first.
    pub(super) fn by_tag(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().map(|(_, number)| *number)
    }

    /// Lets go of members whose tag says nothing any more: coming back they would start at the virtual time anyway.
    fn forget(&mut self) {
        while let Some(&(tag, number)) = self.idle.first() {
            if tag.0 > self.virtual_time {
                break;
            }
            self.idle.remove(&(tag, number));
            let Some(member) = self.members[number as usize].take() else { continue };
            self.member_numbers.remove(&member.tenant);
            self.free_members.push(number);
            let project = &mut self.projects[member.project as usize];
            project.members -= 1;
            if project.members == 0 {
                self.project_numbers.remove(&project.id);
                self.free_projects.push(member.project);
            }
        }
    }
}

fn within(weight: f64) -> f64 {
    if weight.is_nan() { 1.0 } else { weight.clamp(WEIGHTS.0, WEIGHTS.1) }
}
