//! The rights of the person: erasure and rectification (R11).

use tonic::Status;

use super::{
    Services,
    audited::{act, masked},
    convert,
    gate::Admitted,
    question::revision,
    refusal::{Refusal, rejection},
    status::invalid,
};
use crate::{
    audit::Row,
    caps,
    domain::{address::Accept, policy::Policy},
    proto::v1::{
        self, EraseRequest, EraseResponse, ErasureResult, RectifyRequest, RectifyResponse,
    },
    writer::{Erased, Erasure, Rectification},
};

impl Services {
    pub(super) async fn erase_contacts(
        &self,
        request: Admitted<EraseRequest>,
    ) -> Result<EraseResponse, Status> {
        let (caller, request) = request.into_parts();
        let asked = request.erasures;
        if asked.len() > caps::ERASURES {
            let what = format!("{} given; at most {} are accepted", asked.len(), caps::ERASURES);
            return Err(invalid("erasures", what));
        }
        let view = self.published.load();
        let mut accepted = Vec::with_capacity(asked.len());
        let mut rows = Vec::with_capacity(asked.len());
        let mut checked = Vec::with_capacity(asked.len());
        for each in asked {
            let brand = each.brand.clone();
            checked.push(erasure(&view.policy, each).map(|each| {
                rows.push(act(&each.actor, &caller, &brand, Some(masked(&each.address))));
                accepted.push(each);
            }));
        }
        for row in &rows {
            self.audited(&Row::Erase(row.clone()))?;
        }
        let erased = self.writer.erase(accepted).await.map_err(Status::from);
        for (at, row) in rows.into_iter().enumerate() {
            let outcome =
                erased.as_ref().map(|erased| erased.get(at).map_or(0, |each| each.revision));
            self.audited_afterwards(&Row::Erase(row.with(outcome)));
        }
        let mut erased = erased?.into_iter();
        let results = checked.into_iter().map(|checked| match checked {
            Err(refusal) => {
                ErasureResult { rejection: Some(rejection(refusal)), ..Default::default() }
            }
            Ok(()) => erased.next().map_or_else(ErasureResult::default, result),
        });
        let results = results.collect();
        let view = self.published.load();
        Ok(EraseResponse { results, revision: Some(revision(&view, view.revision)) })
    }

    pub(super) async fn rectify_contact(
        &self,
        request: Admitted<RectifyRequest>,
    ) -> Result<RectifyResponse, Status> {
        let (caller, request) = request.into_parts();
        let view = self.published.load();
        let brand = request.brand.clone();
        let rectification = rectification(&view.policy, request)?;
        let about = format!("{} to {}", masked(&rectification.from), masked(&rectification.to));
        let row = act(&rectification.actor, &caller, &brand, Some(about));
        self.audited(&Row::Rectify(row.clone()))?;
        let done = self.writer.rectify(rectification).await.map_err(Status::from);
        let outcome = done.as_ref().map(|done| done.revision);
        self.audited_afterwards(&Row::Rectify(row.with(outcome)));
        let done = done?;
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(RectifyResponse {
            rectification: done.revision,
            moved: count(done.moved),
            kept: count(done.kept),
            revision: Some(revision(&view, done.reached)),
        })
    }
}

fn result(erased: Erased) -> ErasureResult {
    ErasureResult {
        revision: erased.revision,
        events: erased.events,
        survivors: u32::try_from(erased.survivors).unwrap_or(u32::MAX),
        rejection: None,
    }
}

fn erasure(policy: &Policy, erasure: v1::Erasure) -> Result<Erasure, Refusal> {
    Ok(Erasure {
        brand: convert::brand_or_all(policy, &erasure.brand)?,
        // Whoever was once recorded can be erased, whatever the metadata says now.
        address: convert::address(erasure.contact.as_ref(), Accept::Possible)?,
        source: convert::text(erasure.source, "source", caps::TEXT_BYTES)?,
        note: convert::text(erasure.note, "note", caps::NOTE_BYTES)?,
        actor: convert::actor(erasure.actor)?,
    })
}

fn rectification(policy: &Policy, request: RectifyRequest) -> Result<Rectification, Refusal> {
    let address = |contact: Option<&v1::Contact>, field: &str, accept| {
        convert::address(contact, accept).map_err(|refusal| Refusal {
            field: refusal.field.replace("contact", field),
            ..refusal
        })
    };
    let from = address(request.from.as_ref(), "from", Accept::Possible)?;
    let to = address(request.to.as_ref(), "to", Accept::Valid)?;
    if from.kind() != to.kind() {
        let what = "must be of the same kind as the wrong address: consent belongs to an address";
        return Err(Refusal::invalid("to.kind", what));
    }
    if from == to {
        return Err(Refusal::invalid("to.address", "is the same contact as the wrong address"));
    }
    Ok(Rectification {
        brand: policy.brand(&request.brand)?,
        from,
        to,
        source: convert::text(request.source, "source", caps::TEXT_BYTES)?,
        actor: convert::actor(request.actor)?,
    })
}
