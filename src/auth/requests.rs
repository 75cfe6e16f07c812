//! Requests 3001 to 3010: users and their policies. Codes and remarks are those of RocketMQ 5.5.0 (`AdminBrokerProcessor`, recorded in `tests/golden/auth`).
//!
//! Passwords are only in answers to a super user on this machine, as copying a user needs them: RocketMQ gives them to everybody who may list users.

use super::accounts::{User, UserStatus, UserType};
use super::directory::{Directory, DirectoryError, UserChange};
use super::policy::{Acl, PolicyType};
use super::resource::Resource;
use super::secret::Secret;
use crate::wire::auth::{AclInfo, ListAcls, ListUsers, OfSubject, OfUser, UserInfo};
use crate::wire::codes::{request, response};
use crate::wire::{Ext, Reply, loose_json};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Administrator {
    pub is_super: bool,
    /// On this machine.
    pub is_local: bool,
}

/// RocketMQ's remark of an answer in which all went well.
const DONE: &str = "not set any response code";

const ONLY_BY_SUPER: &str = "The super user can only be update by super user";

pub fn is_of_directory(code: i32) -> bool {
    (request::AUTH_CREATE_USER..=request::AUTH_LIST_ACL).contains(&code)
}

/// Whether the request changes something.
pub fn changes(code: i32) -> bool {
    use request::*;
    is_of_directory(code)
        && !matches!(
            code,
            AUTH_GET_USER | AUTH_LIST_USER | AUTH_GET_ACL | AUTH_LIST_ACL
        )
}

/// Answers one of them; a refusal has changed nothing.
pub fn answer(
    directory: &mut Directory,
    by: Administrator,
    code: i32,
    ext: &Ext<'_>,
    body: &[u8],
) -> Reply {
    let answered = match code {
        request::AUTH_CREATE_USER => create_user(directory, by, ext, body),
        request::AUTH_UPDATE_USER => update_user(directory, by, ext, body),
        request::AUTH_DELETE_USER => delete_user(directory, by, ext),
        request::AUTH_GET_USER => find_user(directory, by, ext),
        request::AUTH_LIST_USER => list_users(directory, by, ext),
        request::AUTH_CREATE_ACL | request::AUTH_UPDATE_ACL => put_acl(directory, ext, body),
        request::AUTH_DELETE_ACL => delete_acl(directory, ext),
        request::AUTH_GET_ACL => find_acl(directory, ext),
        request::AUTH_LIST_ACL => list_acls(directory, ext),
        _ => unreachable!("{code} is no request about users"),
    };
    answered.unwrap_or_else(|refusal| refusal).bounded()
}

type Answer = Result<Reply, Reply>;

fn create_user(directory: &mut Directory, by: Administrator, ext: &Ext<'_>, body: &[u8]) -> Answer {
    let name = name_in(ext)?;
    let mut info: UserInfo = loose_json::from_slice(body)?;
    let kind = info.user_type.as_deref().and_then(UserType::parse);
    let status = info.user_status.as_deref().and_then(UserStatus::parse);
    if kind == Some(UserType::Super) && !by.is_super {
        return Err(Reply::error(
            "The super user can only be create by super user",
        ));
    }
    let user = User {
        secret: Secret::new(info.password.take().unwrap_or_default()),
        kind: kind.unwrap_or(UserType::Normal),
        status: status.unwrap_or(UserStatus::Enable),
    };
    directory.create_user(name, user)?;
    Ok(done())
}

fn update_user(directory: &mut Directory, by: Administrator, ext: &Ext<'_>, body: &[u8]) -> Answer {
    let name = name_in(ext)?;
    let mut info: UserInfo = loose_json::from_slice(body)?;
    let kind = info.user_type.as_deref().and_then(UserType::parse);
    if kind == Some(UserType::Super) && !by.is_super {
        return Err(Reply::error(ONLY_BY_SUPER));
    }
    only_by_super(directory, by, name)?;
    let change = UserChange {
        secret: info.password.take().map(Secret::new),
        kind,
        status: info.user_status.as_deref().and_then(UserStatus::parse),
    };
    directory.update_user(name, change)?;
    Ok(done())
}

fn delete_user(directory: &mut Directory, by: Administrator, ext: &Ext<'_>) -> Answer {
    let name = OfUser::decode(ext)?.username.unwrap_or_default();
    only_by_super(directory, by, name)?;
    directory.delete_user(name)?;
    Ok(done())
}

fn find_user(directory: &Directory, by: Administrator, ext: &Ext<'_>) -> Answer {
    let name = name_in(ext)?;
    let info = directory.find(name).map(|user| shown(name, user, by));
    Ok(info.map_or_else(done, |info| done_with(&info)))
}

fn list_users(directory: &Directory, by: Administrator, ext: &Ext<'_>) -> Answer {
    let filter = ListUsers::decode(ext)?.filter.unwrap_or_default();
    let users = directory.users.iter();
    let users = users.filter(|(name, _)| name.contains(filter));
    let infos: Vec<_> = users.map(|(name, user)| shown(name, user, by)).collect();
    Ok(list_of(&infos))
}

fn put_acl(directory: &mut Directory, ext: &Ext<'_>, body: &[u8]) -> Answer {
    let info: AclInfo = match body.is_empty() {
        true => AclInfo::default(),
        false => loose_json::from_slice(body)?,
    };
    if info.policies.is_empty() {
        return Err(Reply::error("The body of acl is null"));
    }
    let name = subject_in(ext)?;
    let acl = Acl::parse(&info).map_err(refused)?;
    directory.put_acl(name, &acl)?;
    Ok(done())
}

fn delete_acl(directory: &mut Directory, ext: &Ext<'_>) -> Answer {
    let asked = OfSubject::decode(ext)?;
    let name = subject_in(ext)?;
    let resource = match asked.resource {
        None => None,
        // RocketMQ deletes all policies then.
        Some(text) => Some(Resource::parse(text).ok_or_else(|| refused("The resource is null."))?),
    };
    let kind = PolicyType::parse(asked.policy_type);
    directory.delete_acl(name, kind, resource.as_ref())?;
    Ok(done())
}

fn find_acl(directory: &Directory, ext: &Ext<'_>) -> Answer {
    let name = subject_in(ext)?;
    if directory.find(name).is_none() {
        return Err(DirectoryError::NoSubject.into());
    }
    let info = directory
        .acl(name)
        .and_then(|acl| acl.info(subject_of(name), ""));
    Ok(info.map_or_else(done, |info| done_with(&info)))
}

fn list_acls(directory: &Directory, ext: &Ext<'_>) -> Answer {
    let ListAcls {
        subject_filter,
        resource_filter,
    } = ListAcls::decode(ext)?;
    let (subjects, resources) = (
        subject_filter.unwrap_or_default(),
        resource_filter.unwrap_or_default(),
    );
    let acls = directory.acls.iter().filter_map(|(name, acl)| {
        let subject = subject_of(name);
        let is_asked = subject.contains(subjects);
        is_asked.then(|| acl.info(subject, resources)).flatten()
    });
    Ok(list_of(&acls.collect::<Vec<_>>()))
}

fn name_in<'a>(ext: &Ext<'a>) -> Result<&'a str, Reply> {
    let name = OfUser::decode(ext)?.username;
    name.ok_or_else(|| Reply::refused(response::INVALID_PARAMETER, "The username is blank"))
}

fn subject_in<'a>(ext: &Ext<'a>) -> Result<&'a str, Reply> {
    let subject = OfSubject::decode(ext)?.subject;
    let name = subject.and_then(name_of_subject);
    name.ok_or_else(|| refused("The subject is null."))
}

fn only_by_super(directory: &Directory, by: Administrator, name: &str) -> Result<(), Reply> {
    let user = directory.find(name);
    let is_super = user.is_some_and(|user| user.kind == UserType::Super);
    match is_super && !by.is_super {
        true => Err(refused(ONLY_BY_SUPER)),
        false => Ok(()),
    }
}

pub(super) fn subject_of(name: &str) -> String {
    format!("User:{name}")
}

pub(super) fn name_of_subject(subject: &str) -> Option<&str> {
    let name = subject.strip_prefix("User:");
    name.filter(|name| !name.is_empty())
}

fn shown(name: &str, user: &User, by: Administrator) -> UserInfo {
    let is_trusted = by.is_super && by.is_local;
    user_info(
        name,
        user,
        Some(if is_trusted { user.secret.reveal() } else { "" }),
    )
}

pub(super) fn user_info(name: &str, user: &User, secret: Option<&str>) -> UserInfo {
    UserInfo {
        password: secret.map(str::to_owned),
        user_status: Some(user.status.name().into()),
        user_type: Some(user.kind.name().into()),
        username: Some(name.into()),
    }
}

fn done() -> Reply {
    Reply::ok().remark(DONE)
}

fn done_with<T: serde::Serialize>(body: &T) -> Reply {
    Reply::json(body).remark(DONE)
}

/// Nothing is no list.
fn list_of<T: serde::Serialize>(list: &[T]) -> Reply {
    match list.is_empty() {
        true => done(),
        false => done_with(&list),
    }
}

fn refused(remark: &'static str) -> Reply {
    Reply::refused(response::NO_PERMISSION, remark)
}

impl From<DirectoryError> for Reply {
    fn from(error: DirectoryError) -> Self {
        Self::refused(response::NO_PERMISSION, error.to_string())
    }
}
