//! Aliyun's DashScope (Model Studio): Wan's films and pictures.
//!
//! - Pixels are written with an asterisk; films from pictures have a tier instead.
//! - Model, host and key belong to one region, and some models are called otherwise in another.
//! - A failed task is an HTTP 200, and a missing balance is an HTTP 400.

mod errors;
mod models;
mod request;
mod response;

#[cfg(test)]
mod tests;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::outcome::{Cancellation, Created, Polled};
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::validate::{RequestRefusal, Validated};
use super::wire::{Account, AccountError, Method, WireRequest, WireResponse, check_name};
use crate::domain::UnixMs;

/// Where the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// China.
    Beijing,
    /// International.
    Singapore,
    /// The United States.
    Virginia,
}

impl Region {
    /// The usual base URL. With a workspace, its own host, where the region has such; the common host in Singapore is to go.
    pub fn base_url(self, workspace: Option<&str>) -> String {
        match (self, workspace) {
            (Self::Beijing, None) => "https://dashscope.aliyuncs.com/api/v1".to_owned(),
            (Self::Beijing, Some(workspace)) => format!("https://{workspace}.cn-beijing.maas.aliyuncs.com/api/v1"),
            (Self::Singapore, None) => "https://dashscope-intl.aliyuncs.com/api/v1".to_owned(),
            (Self::Singapore, Some(workspace)) => format!("https://{workspace}.ap-southeast-1.maas.aliyuncs.com/api/v1"),
            (Self::Virginia, _) => "https://dashscope-us.aliyuncs.com/api/v1".to_owned(),
        }
    }

    /// What the region calls a model. Only those of 2.1 differ: `wanx2.1-…` in Beijing, `wan2.1-…` in Singapore.
    fn name_of(self, model: &str) -> String {
        let (from, to) = match self {
            Self::Beijing => ("wan2.1-", "wanx2.1-"),
            Self::Singapore => ("wanx2.1-", "wan2.1-"),
            Self::Virginia => return model.to_owned(),
        };
        model.strip_prefix(from).map_or_else(|| model.to_owned(), |rest| format!("{to}{rest}"))
    }
}

/// An account at DashScope.
#[derive(Clone, Debug)]
pub struct Aliyun {
    account: Account,
    region: Region,
    workspace: Option<String>,
}

impl Aliyun {
    /// An account in a region, in a workspace other than its default one where that is named. Fails with [`AccountError`].
    pub fn new(account: Account, region: Region, workspace: Option<String>) -> Result<Self, AccountError> {
        if let Some(workspace) = &workspace {
            check_name("workspace", workspace)?;
        }
        Ok(Self { account, region, workspace })
    }

    fn call(&self, method: Method, path: &str) -> WireRequest {
        let request = WireRequest::new(method, self.account.url(path), self.account.bearer());
        match &self.workspace {
            Some(workspace) if method == Method::Post => request.with_header("X-DashScope-WorkSpace", workspace),
            _ => request,
        }
    }
}

impl Provider for Aliyun {
    fn name(&self) -> &'static str {
        "aliyun"
    }

    fn models(&self) -> &[Model] {
        &models::MODELS
    }

    fn following(&self, _model: &str) -> Following {
        Following {
            first_pause_ms: 10_000,
            most_pause_ms: 15_000,
            deadline_seconds: 20 * 60,
            link_seconds: 24 * 60 * 60,
            cancels_queued: true,
            knows_our_id: false,
        }
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        _options: &CreateOptions,
        _now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        request::create(self, model, checked)
    }

    fn read_created(&self, _model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        response::created(response)
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        task.check_id()?;
        Ok(self.call(Method::Get, &format!("/tasks/{}", task.id)))
    }

    fn read_polled(&self, _task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        response::polled(known, response)
    }

    fn cancel(&self, task: &RemoteTask, _known: Known, _now: UnixMs) -> Option<WireRequest> {
        // The provider refuses by itself what runs already.
        is_identifier(&task.id).then(|| self.call(Method::Post, &format!("/tasks/{}/cancel", task.id)))
    }

    fn read_cancelled(
        &self,
        _task: &RemoteTask,
        _known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        response::cancelled(response)
    }
}
