//! F17 as a table: every method of the descriptors, with every token that it
//! must not take, on every field that can name a brand.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use sendgate::{
    proto::{
        DESCRIPTORS,
        v1::{CheckRequest, CreateTokenRequest},
    },
    tokens::Token,
};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    support::{HOUR, START},
    tokens::{ADMIN, FILTER, Guarded, KNOWN, RECORD, check, reason, request},
};

/// Messages as bytes, whatever the method.
#[derive(Clone, Copy)]
struct Raw;

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

/// A method, and the fields of its request that can name a brand, each as the
/// numbers that lead to it.
#[derive(Debug)]
struct Rpc {
    path: String,
    brands: Vec<Vec<i32>>,
}

/// Every method of ours, read from the descriptors.
fn rpcs() -> Vec<Rpc> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let ours: Vec<_> = files.iter().filter(|file| file.package() == "sendgate.v1").collect();
    let messages: Vec<&DescriptorProto> = ours.iter().flat_map(|file| &file.message_type).collect();
    let services = ours.iter().flat_map(|file| &file.service);
    let rpcs = services.flat_map(|service| {
        service.method.iter().map(|method| Rpc {
            path: format!("/sendgate.v1.{}/{}", service.name(), method.name()),
            brands: brand_fields(&messages, method.input_type()),
        })
    });
    rpcs.collect()
}

fn brand_fields(messages: &[&DescriptorProto], name: &str) -> Vec<Vec<i32>> {
    let name = name.rsplit('.').next().unwrap();
    let message = messages.iter().find(|message| message.name() == name).unwrap();
    let mut found = Vec::new();
    for field in &message.field {
        match field.r#type() {
            Type::String if field.name().starts_with("brand") => found.push(vec![field.number()]),
            Type::Message => {
                let inner = brand_fields(messages, field.type_name()).into_iter();
                found.extend(inner.map(|path| [vec![field.number()], path].concat()));
            }
            _ => {}
        }
    }
    found
}

/// A message in which nothing is set but the field at this path.
fn naming(path: &[i32], brand: &str) -> Bytes {
    let field = |number: i32, content: &[u8]| {
        let mut bytes = Vec::new();
        prost::encoding::encode_key(
            number.try_into().unwrap(),
            prost::encoding::WireType::LengthDelimited,
            &mut bytes,
        );
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    };
    let start = brand.as_bytes().to_vec();
    path.iter().rev().fold(start, |inner, number| field(*number, &inner)).into()
}

/// Makes a call with one message, and returns how it went up to the first
/// answer. What stands for a token is sent as it is.
async fn call(
    channel: &Channel,
    path: &str,
    authorization: Option<&str>,
    message: Bytes,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::iter([message]));
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    let path = PathAndQuery::try_from(path).unwrap();
    let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
    answers.message().await.map(drop)
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.expose())
}

#[test]
fn the_descriptors_name_the_methods_and_brands_that_they_are_known_to() {
    let rpcs = rpcs();
    assert!(rpcs.len() >= 23, "{rpcs:#?}");
    let brands = |path: &str| {
        let rpc = rpcs.iter().find(|rpc| rpc.path.ends_with(path)).unwrap();
        rpc.brands.clone()
    };
    assert_eq!(brands("/Filter"), [[1, 1]]);
    assert_eq!(brands("/Record"), [[1, 1]]);
    assert_eq!(brands("/Import"), [[1, 1, 1], [1, 2, 1], [1, 3, 1], [1, 4, 1]]);
    assert_eq!(brands("/Watch"), [[1]]);
    assert!(brands("/Purge").is_empty());
    assert_eq!(naming(&[1, 2], "ab").as_ref(), [0x0a, 4, 0x12, 2, b'a', b'b']);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_method_takes_a_token_that_it_must_not_take() {
    let guarded = Guarded::start().await;
    let channel = guarded.server.connect().await;
    let everything = [FILTER, RECORD, ADMIN];
    let brief = CreateTokenRequest {
        expires_at_ms: Some(START + HOUR),
        ..request("brief", &["*"], &everything)
    };
    let expired = bearer(&guarded.create_as(brief).await.unwrap());
    guarded.server.set_clock(START + HOUR);
    let revoked = bearer(&guarded.create("revoked", &["*"], &everything).await);
    guarded.revoke("revoked").await;
    let all = bearer(&guarded.create("all", &["*"], &everything).await);
    let main = bearer(&guarded.create("main", &["main"], &everything).await);
    let mut single = Vec::new();
    for (name, role) in [("filter", FILTER), ("record", RECORD), ("admin", ADMIN)] {
        single.push((name, bearer(&guarded.create(name, &["*"], &[role]).await)));
    }
    let unknown = bearer(&Token::random());
    let basic = all.replace("Bearer", "Basic");
    let bare = all.replace("Bearer ", "");
    let longer = format!("{all}0");

    for rpc in &rpcs() {
        let ask = async |token: Option<&str>, message: Bytes| {
            let asked = call(&channel, &rpc.path, token, message).await;
            asked.err().map_or((Code::Ok, String::new()), |it| (it.code(), reason(&it)))
        };
        let empty = Bytes::new;
        let unauthenticated = |reason: &str| (Code::Unauthenticated, reason.to_owned());
        let denied = |reason: &str| (Code::PermissionDenied, reason.to_owned());

        assert_eq!(ask(None, empty()).await, unauthenticated("TOKEN_MISSING"), "{rpc:?}");
        for garbage in ["", "Bearer", "Bearer ", "Bearer x", &basic, &bare, &longer, &unknown] {
            let asked = ask(Some(garbage), empty()).await;
            assert_eq!(asked, unauthenticated("TOKEN_UNKNOWN"), "{garbage} {rpc:?}");
        }
        assert_eq!(ask(Some(&expired), empty()).await, unauthenticated("TOKEN_EXPIRED"), "{rpc:?}");
        assert_eq!(ask(Some(&revoked), empty()).await, unauthenticated("TOKEN_UNKNOWN"), "{rpc:?}");

        // Exactly one role will do, and it is the one that the service is for.
        let mut fitting = Vec::new();
        for (name, token) in &single {
            match ask(Some(token), empty()).await {
                (Code::PermissionDenied, why) => assert_eq!(why, "ROLE_NOT_GRANTED", "{rpc:?}"),
                (code, _) => {
                    assert_ne!(code, Code::Unauthenticated, "{rpc:?}");
                    assert_ne!(code, Code::Unimplemented, "{rpc:?} is not in the table");
                    fitting.push(*name);
                }
            }
        }
        assert_eq!(fitting, [role_of(&rpc.path)], "{rpc:?}");

        // Brand by brand, whether it exists, and for all brands at once.
        for path in &rpc.brands {
            if *path == ERASURE {
                let asked = ask(Some(&main), naming(path, "main")).await;
                assert_eq!(asked, denied("BRAND_NOT_GRANTED"), "its marks are of any brand");
                continue;
            }
            for brand in ["other", "nobody", "*", "MAIN", "main "] {
                let asked = ask(Some(&main), naming(path, brand)).await;
                assert_eq!(asked, denied("BRAND_NOT_GRANTED"), "{brand} {path:?} {rpc:?}");
            }
            if !rpc.path.contains("Admin") {
                for token in [&main, &all] {
                    let (code, _) = ask(Some(token), naming(path, "main")).await;
                    let let_in = ![Code::PermissionDenied, Code::Unauthenticated].contains(&code);
                    assert!(let_in, "{path:?} {rpc:?}");
                }
            }
        }
        if rpc.brands.is_empty() || rpc.path.contains("Admin") {
            let asked = ask(Some(&main), empty()).await;
            assert_eq!(asked, denied("BRAND_NOT_GRANTED"), "the whole store: {rpc:?}");
        }
    }
}

/// The brand of a replayed erasure in an import, which needs a token of all
/// brands and the role admin.
const ERASURE: [i32; 3] = [1, 4, 1];

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_erasure_needs_the_role_admin_too() {
    let guarded = Guarded::start().await;
    let channel = guarded.server.connect().await;
    let import = "/sendgate.v1.ConsentService/Import";
    for (roles, let_in) in [(&[RECORD][..], false), (&[RECORD, ADMIN], true)] {
        let name = format!("replays-{}", roles.len());
        let token = bearer(&guarded.create(&name, &["*"], roles).await);
        let asked = call(&channel, import, Some(&token), naming(&ERASURE, "main")).await;
        let is_denied = asked.is_err_and(|status| status.code() == Code::PermissionDenied);
        assert_eq!(is_denied, !let_in, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_behind_a_verdict_needs_the_role_admin_too() {
    let guarded = Guarded::start().await;
    for (roles, may) in [(&[FILTER][..], false), (&[FILTER, ADMIN], true)] {
        let token = guarded.create(&format!("asks-{}", roles.len()), &["main"], roles).await;
        let mut filter = guarded.client(Some(&token)).await.filter_service();
        filter.check(check("main", KNOWN)).await.unwrap();
        let with_record = CheckRequest { include_record: true, ..check("main", KNOWN) };
        match filter.check(with_record).await {
            Ok(answer) => assert!(may && answer.into_inner().record.is_some()),
            Err(status) => {
                assert!(!may, "{status}");
                let denied = (Code::PermissionDenied, "ROLE_NOT_GRANTED".to_owned());
                assert_eq!((status.code(), reason(&status)), denied);
            }
        }
    }
    let denials = guarded.rows_once("denied", 1).await;
    assert_eq!(denials[0]["token"], "asks-1");
    assert_eq!(guarded.rows("check").len(), 1, "what was refused was read by nobody");
}

/// The role that a method needs, by what it does.
fn role_of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap();
    match name {
        _ if path.contains("FilterService") => "filter",
        "Record" | "Import" | "Suppress" | "Lift" => "record",
        _ => "admin",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_reflection_is_not_and_nothing_else_is_there() {
    let guarded = Guarded::start().await;
    let channel = guarded.server.connect().await;
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(request).await.unwrap();

    let token = bearer(&guarded.create("any", &["main"], &[FILTER]).await);
    // list_services, field 7 in both versions.
    let list = naming(&[7], "*");
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let refused = call(&channel, &path, None, list.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        call(&channel, &path, Some(&token), list.clone()).await.unwrap();
    }
    for path in ["/sendgate.v1.FilterService/Open", "/sendgate.v2.FilterService/Filter"] {
        let refused = call(&channel, path, None, Bytes::new()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
}
