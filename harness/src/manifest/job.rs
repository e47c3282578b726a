//! Jobs: pods that are to end.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/>.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::Deserialize;

use super::pod::{Metadata, Pod, PodSpec, RestartPolicy};

/// How many failures are one too many, less one, unless a manifest says otherwise.
const BACKOFF_LIMIT: u32 = 6;
/// What a cluster makes the end of a generated name from: it spells no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of those letters there are in a name.
const SUFFIX: usize = 5;
/// The longest beginning of a generated name.
const STEM: usize = 57;

/// What a Job wants of its pod, besides the pod itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The Job's name. Its pods are recorded under it: their own names end in letters that differ
    /// from run to run.
    pub name: String,
    /// How often containers may be started again (`restartPolicy: OnFailure`), or how many pods
    /// may fail (`restartPolicy: Never`), before the Job has failed.
    pub backoff_limit: u32,
    /// How long the Job may run.
    pub active_deadline: Option<Duration>,
}

/// A Job as a manifest has it, as far as an engine besides a real cluster acts on it.
#[derive(Deserialize)]
pub(super) struct JobObject {
    metadata: Metadata,
    spec: JobSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobSpec {
    backoff_limit: Option<u32>,
    active_deadline_seconds: Option<u64>,
    template: PodTemplate,
}

#[derive(Deserialize)]
struct PodTemplate {
    #[serde(default)]
    metadata: Metadata,
    spec: PodSpec,
}

impl From<JobObject> for Pod {
    fn from(JobObject { metadata, spec }: JobObject) -> Self {
        let job = Job {
            name: metadata.name,
            backoff_limit: spec.backoff_limit.unwrap_or(BACKOFF_LIMIT),
            active_deadline: spec.active_deadline_seconds.map(Duration::from_secs),
        };
        let template = spec.template;
        Self {
            metadata: Metadata {
                name: job.name.clone(),
                namespace: metadata.namespace,
                ..template.metadata
            },
            spec: template.spec,
            job: Some(job),
        }
    }
}

impl Pod {
    /// What a recording calls it: its name, or that of its Job.
    #[must_use]
    pub fn recorded_name(&self) -> &str {
        match &self.job {
            Some(job) => &job.name,
            None => &self.metadata.name,
        }
    }

    /// The pod as it is made: that of a Job gets a name that no other has, and the Job's labels.
    #[must_use]
    pub fn made(&self) -> Self {
        let mut pod = self.clone();
        if let Some(job) = &self.job {
            let mut number = RandomState::new().hash_one(());
            let mut name = job.name.clone();
            name.truncate(STEM);
            name.push('-');
            for _ in 0..SUFFIX {
                let letters = ALPHABET.len() as u64;
                name.push(char::from(ALPHABET[(number % letters) as usize]));
                number /= letters;
            }
            pod.metadata.name = name;
            for label in ["batch.kubernetes.io/job-name", "job-name"] {
                let labels = &mut pod.metadata.labels;
                labels.insert(label.to_owned(), job.name.clone());
            }
        }
        pod
    }

    /// Whether a cluster makes another pod of its Job when it has failed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        let limit = self.job.as_ref().map_or(0, |job| job.backoff_limit);
        limit > 0 && self.spec.restart_policy == RestartPolicy::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_job_has_a_name_of_its_own_and_is_recorded_under_the_jobs() {
        let long = "a".repeat(63);
        for name in ["counter", &long] {
            let pod = Pod {
                job: Some(Job {
                    name: name.to_owned(),
                    backoff_limit: 0,
                    active_deadline: None,
                }),
                ..Pod::default()
            };
            let (one, other) = (pod.made(), pod.made());
            assert_ne!(one.metadata.name, other.metadata.name);
            let (stem, suffix) = one.metadata.name.rsplit_once('-').unwrap();
            assert!(name.starts_with(stem) && suffix.len() == SUFFIX);
            assert!(one.metadata.name.len() <= 63);
            assert_eq!(one.metadata.labels["job-name"], name);
            assert_eq!(one.recorded_name(), name);
        }
    }
}
