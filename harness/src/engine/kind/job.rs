//! What the cluster tells of a Job and of its pods, as the events of one pod: a recording calls them
//! all by the Job's name, since the cluster's own names for them differ from run to run.

use std::collections::HashMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;

use super::watch::{Inbox, News, Next, PodWatch, Stage, end};
use crate::engine::{PodChange, What};
use crate::manifest::pod::Pod;

/// A Job, as far as it has been told.
pub(super) struct JobWatch {
    stage: Stage,
    /// What its pods are made from.
    template: Pod,
    /// Its pods, by the names that the cluster gives them.
    pods: HashMap<String, OnePod>,
    /// The Job is over: how it ended, unless it was removed.
    end: Option<Option<PodChange>>,
}

struct OnePod {
    watch: PodWatch,
    /// It was told to end.
    stopping: bool,
    over: bool,
}

impl JobWatch {
    pub(super) fn new(stage: Stage, template: Pod) -> Self {
        Self {
            stage,
            template,
            pods: HashMap::new(),
            end: None,
        }
    }

    /// Tells all that happens, until the Job is over and every pod of it has ended.
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        while let Some(next) = inbox.next().await {
            match next {
                Next::Stop => {
                    self.tell(PodChange::Stopping).await;
                    continue;
                }
                Next::News(News::Job(job)) => {
                    if let Some(end) = end_of_job(&job) {
                        self.end = Some(Some(end));
                    }
                }
                Next::News(News::JobGone) => {
                    self.end.get_or_insert(None);
                }
                Next::News(News::Status(pod)) => self.status(&pod, inbox.told).await,
                Next::News(News::Gone(name)) => {
                    let pod = self.pod(&name);
                    pod.watch.lost().await;
                    pod.over = true;
                }
                Next::News(News::Event(event)) => self.event(&event).await,
            }
            let Some(end) = &self.end else { continue };
            if self.pods.values().all(|pod| pod.over) {
                let removed = || PodChange::Failed {
                    reason: "Deleted".to_owned(),
                    message: "the Job was removed from the cluster".to_owned(),
                };
                if !inbox.told {
                    self.tell(end.clone().unwrap_or_else(removed)).await;
                }
                return;
            }
        }
    }

    fn pod(&mut self, name: &str) -> &mut OnePod {
        let (stage, template) = (&self.stage, &self.template);
        self.pods.entry(name.to_owned()).or_insert_with(|| OnePod {
            watch: PodWatch::new(stage.clone(), template, name.to_owned()),
            stopping: false,
            over: false,
        })
    }

    async fn status(&mut self, status: &core::Pod, told: bool) {
        let name = status.name_any();
        let pod = self.pod(&name);
        if pod.over {
            return;
        }
        let is_told = status.metadata.deletion_timestamp.is_some();
        let news = is_told && !std::mem::replace(&mut pod.stopping, is_told) && !told;
        if news {
            // The Job has failed while its pod ran: who made the pod ends it.
            self.tell(PodChange::Stopping).await;
        }
        let pod = self.pod(&name);
        pod.watch.status(status).await;
        if end(status).is_some() {
            pod.watch.lost().await;
            pod.over = true;
        }
    }

    async fn event(&mut self, event: &core::Event) {
        let about = &event.involved_object;
        let name = about.name.clone().unwrap_or_default();
        match (about.kind.as_deref(), event.reason.as_deref()) {
            (Some("Pod"), _) => self.pod(&name).watch.event(event).await,
            // Nothing of a pod that cannot be made tells why.
            (_, Some("FailedCreate")) => {
                let message = event.message.clone().unwrap_or_default();
                let mut none = PodWatch::new(self.stage.clone(), &self.template, name);
                none.all_wait("FailedCreate", &message).await;
            }
            _ => {}
        }
    }

    async fn tell(&self, change: PodChange) {
        let name = self.template.recorded_name();
        self.stage.send(name, What::Pod(change)).await;
    }
}

/// How a Job ended, if it has, and all its pods with it.
fn end_of_job(job: &Job) -> Option<PodChange> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut holds = conditions.filter(|condition| condition.status == "True");
    holds.find_map(|condition| match condition.type_.as_str() {
        "Complete" => Some(PodChange::Succeeded),
        "Failed" => Some(PodChange::Failed {
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        }),
        _ => None,
    })
}
