//! What a cluster's Job controller does, for a Job that has one pod: it gives the Job up when its
//! containers were started again too often, or when its time is over.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures>,
//! and `pkg/controller/job` of Kubernetes 1.37.

use std::time::Duration;

use super::{Failure, GRACE, Shared};
use crate::manifest::job::Job;
use crate::manifest::pod::RestartPolicy;

impl Shared {
    /// Why the pod has failed, one of whose containers has, for good.
    pub(super) fn failure(&self) -> Failure {
        match &self.pod.job {
            // What fails for good is not under `OnFailure`, and no other pod may follow it here.
            Some(_) => limit_reached(),
            None => Failure::default(),
        }
    }

    /// Returns when the pod's Job has failed while the pod ran: the pod must end, this is why, and
    /// it has so long.
    pub(super) async fn watch_job(&self) -> (Failure, Duration) {
        let Some(job) = &self.pod.job else {
            return std::future::pending().await;
        };
        let failure = tokio::select! {
            () = self.restarted_too_often(job) => limit_reached(),
            () = past(job.active_deadline) => Failure {
                reason: "DeadlineExceeded",
                message: "Job was active longer than specified deadline".to_owned(),
            },
        };
        let seconds = self.pod.spec.termination_grace_period_seconds;
        (failure, seconds.map_or(GRACE, Duration::from_secs))
    }

    async fn restarted_too_often(&self, job: &Job) {
        // Under `Never`, what counts is pods that failed, and not a sidecar that was started again.
        let counts = self.pod.spec.restart_policy == RestartPolicy::OnFailure;
        let too_often = |restarts: &u32| counts && *restarts >= job.backoff_limit.max(1);
        // The sender lives in `self`.
        let _ = self.restarts.subscribe().wait_for(too_often).await;
    }
}

fn limit_reached() -> Failure {
    Failure {
        reason: "BackoffLimitExceeded",
        message: "Job has reached the specified backoff limit".to_owned(),
    }
}

async fn past(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => std::future::pending().await,
    }
}
