//! Who may call what: the role that each method needs, and the brands that each
//! request is about.
//!
//! A method that is not in the table answers UNIMPLEMENTED, and a request of a
//! type that does not say what it is about does not compile where it is
//! admitted: a new method cannot be forgotten here.

use crate::{
    proto::v1::{
        AcceptRestoreRequest, ApplyPolicyRequest, BackupRequest, CheckRequest, CheckpointRequest,
        CreateTokenRequest, DescribeRequest, EraseRequest, ExplainRequest, ExportRequest,
        FilterRequest, GetPolicyRequest, GetStatisticsRequest, HistoryRequest, ImportItem,
        ImportRequest, LiftRequest, ListPoliciesRequest, ListTokensRequest, PurgeRequest,
        ReachRequest, RecordRequest, RectifyRequest, RevokeTokenRequest, SuppressRequest,
        WatchRequest, filter_request, import_item,
    },
    tokens::Role,
};

/// A method, and the role that it needs.
#[derive(Debug)]
pub(super) struct Method {
    /// As in the path of a call, without the first slash.
    pub path: &'static str,
    /// None where any token will do.
    pub role: Option<Role>,
}

const FILTER: Option<Role> = Some(Role::Filter);
const RECORD: Option<Role> = Some(Role::Record);
const ADMIN: Option<Role> = Some(Role::Admin);

/// Every method but those of the health service, which is open: whoever asks
/// whether the server is up learns nothing else.
pub(super) static METHODS: [Method; 27] = [
    of("sendgate.v1.FilterService/Filter", FILTER),
    of("sendgate.v1.FilterService/Check", FILTER),
    of("sendgate.v1.FilterService/Describe", FILTER),
    of("sendgate.v1.FilterService/Reach", FILTER),
    of("sendgate.v1.ConsentService/Record", RECORD),
    of("sendgate.v1.ConsentService/Import", RECORD),
    of("sendgate.v1.ConsentService/Suppress", RECORD),
    of("sendgate.v1.ConsentService/Lift", RECORD),
    of("sendgate.v1.ConsentService/Erase", ADMIN),
    of("sendgate.v1.ConsentService/Rectify", ADMIN),
    of("sendgate.v1.ConsentService/History", ADMIN),
    of("sendgate.v1.ConsentService/Explain", ADMIN),
    of("sendgate.v1.ConsentService/Export", ADMIN),
    of("sendgate.v1.ConsentService/Watch", ADMIN),
    of("sendgate.v1.AdminService/ApplyPolicy", ADMIN),
    of("sendgate.v1.AdminService/GetPolicy", ADMIN),
    of("sendgate.v1.AdminService/ListPolicies", ADMIN),
    of("sendgate.v1.AdminService/GetStatistics", ADMIN),
    of("sendgate.v1.AdminService/Checkpoint", ADMIN),
    of("sendgate.v1.AdminService/Purge", ADMIN),
    of("sendgate.v1.AdminService/Backup", ADMIN),
    of("sendgate.v1.AdminService/AcceptRestore", ADMIN),
    of("sendgate.v1.AdminService/CreateToken", ADMIN),
    of("sendgate.v1.AdminService/ListTokens", ADMIN),
    of("sendgate.v1.AdminService/RevokeToken", ADMIN),
    // The protos are public; that they are served here is not everybody's business.
    of("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None),
    of("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", None),
];

const fn of(path: &'static str, role: Option<Role>) -> Method {
    Method { path, role }
}

/// The method of this path; none if there is no such method.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    let path = path.strip_prefix('/')?;
    METHODS.iter().find(|method| method.path == path)
}

/// What a request is about.
pub(super) enum Concern<'a> {
    /// The whole store: for callers of all brands.
    Store,
    /// A brand, by the name that the request gives it; `*` is all brands.
    Brand(&'a str),
    /// The brands of the items of this field. A foreign one among them refuses
    /// the request as a whole, with nothing done: its caller is not who they
    /// ought to be, and a rejected item among a thousand is easily overlooked.
    Items(&'static str, Box<dyn Iterator<Item = (usize, &'a str)> + 'a>),
    /// Nothing but what was said at the beginning of the stream.
    SameStream,
}

/// A request that says what it is about.
pub(super) trait Concerns {
    /// What it is about. No brand that it names may be left out.
    fn concern(&self) -> Concern<'_>;

    /// A role that it needs beside that of its method.
    fn further_role(&self) -> Option<Role> {
        None
    }
}

/// Requests about one brand.
macro_rules! concern_their_brand {
    ($($request:ty),*) => {
        $(impl Concerns for $request {
            fn concern(&self) -> Concern<'_> {
                Concern::Brand(&self.brand)
            }
        })*
    };
}

concern_their_brand!(
    DescribeRequest,
    ReachRequest,
    RectifyRequest,
    HistoryRequest,
    ExplainRequest,
    ExportRequest,
    WatchRequest
);

/// Requests about the whole store.
macro_rules! concern_the_store {
    ($($request:ty),*) => {
        $(impl Concerns for $request {
            fn concern(&self) -> Concern<'_> {
                Concern::Store
            }
        })*
    };
}

concern_the_store!(
    ApplyPolicyRequest,
    GetPolicyRequest,
    ListPoliciesRequest,
    GetStatisticsRequest,
    CheckpointRequest,
    PurgeRequest,
    BackupRequest,
    AcceptRestoreRequest,
    CreateTokenRequest,
    ListTokensRequest,
    RevokeTokenRequest
);

impl Concerns for CheckRequest {
    fn concern(&self) -> Concern<'_> {
        Concern::Brand(&self.brand)
    }

    fn further_role(&self) -> Option<Role> {
        // A verdict is for senders. What was recorded of a person, with source,
        // evidence and remarks, is for those who may read their history.
        self.include_record.then_some(Role::Admin)
    }
}

impl Concerns for FilterRequest {
    fn concern(&self) -> Concern<'_> {
        match &self.message {
            Some(filter_request::Message::Options(options)) => Concern::Brand(&options.brand),
            Some(filter_request::Message::Batch(_)) | None => Concern::SameStream,
        }
    }
}

impl Concerns for RecordRequest {
    fn concern(&self) -> Concern<'_> {
        items("events", self.events.iter().map(|event| Some(event.brand.as_str())))
    }
}

impl Concerns for SuppressRequest {
    fn concern(&self) -> Concern<'_> {
        items("suppressions", self.suppressions.iter().map(|entry| Some(entry.brand.as_str())))
    }
}

impl Concerns for LiftRequest {
    fn concern(&self) -> Concern<'_> {
        items("lifts", self.lifts.iter().map(|lift| Some(lift.brand.as_str())))
    }
}

impl Concerns for EraseRequest {
    fn concern(&self) -> Concern<'_> {
        items("erasures", self.erasures.iter().map(|erasure| Some(erasure.brand.as_str())))
    }
}

impl Concerns for ImportRequest {
    fn concern(&self) -> Concern<'_> {
        // An item without a change names no brand, and is rejected as such.
        items("items", self.items.iter().map(item_brand))
    }

    fn further_role(&self) -> Option<Role> {
        let erases =
            |item: &ImportItem| matches!(item.change, Some(import_item::Change::Erasure(_)));
        self.items.iter().any(erases).then_some(Role::Admin)
    }
}

fn items<'a>(
    field: &'static str,
    brands: impl Iterator<Item = Option<&'a str>> + 'a,
) -> Concern<'a> {
    Concern::Items(field, Box::new(brands.enumerate().filter_map(|(at, it)| Some((at, it?)))))
}

fn item_brand(item: &ImportItem) -> Option<&str> {
    Some(match item.change.as_ref()? {
        import_item::Change::Consent(event) => &event.brand,
        import_item::Change::Suppression(entry) => &entry.brand,
        import_item::Change::Lift(lift) => &lift.brand,
        // Its marks say by fingerprint alone which brands they are of.
        import_item::Change::Erasure(_) => "*",
    })
}
