//! Changes that make people what they are.

use sendgate::{
    clock::Clock,
    proto::v1::{
        AnswerForm, ConsentEvent, ConsentStatus, Contact, FilterOptions, ImportItem, Reason, Scope,
        StatedTime, Suppression, import_item,
    },
};

use super::people::{Person, Population, recorded_reason};

/// When the population consented. Fixed, so that populating again changes nothing.
const CONSENTED_MS: i64 = 1_700_000_000_000;
const SOURCE: &str = "loadtest";

/// What the machine's clock says, in ms.
pub fn now_ms() -> i64 {
    Clock::System.now()
}

/// Makes the events of a population in a brand.
#[derive(Clone, Debug)]
pub struct Events {
    /// Whom they concern.
    pub population: Population,
    /// The brand.
    pub brand: String,
    /// The scopes in which people consent.
    pub scopes: Vec<Scope>,
}

impl Events {
    /// What a filter stream asks about these people.
    pub fn options(&self, reasons: bool) -> FilterOptions {
        let form = if reasons { AnswerForm::Reasons } else { AnswerForm::PermittedBits };
        FilterOptions {
            brand: self.brand.clone(),
            scopes: self.scopes.clone(),
            contact_kind: self.population.column().kind().into(),
            // Half of the spellings do not name their country.
            default_region: "TR".to_owned(),
            answer_form: form.into(),
            ..Default::default()
        }
    }

    /// A person's address, as requests name it.
    pub fn contact(&self, person: Person) -> Contact {
        Contact {
            kind: self.population.column().kind().into(),
            address: self.population.address(person),
            default_region: String::new(),
        }
    }

    /// Grants at another time, in every scope.
    pub fn granted_at(&self, person: Person, time: i64) -> impl Iterator<Item = ImportItem> + '_ {
        self.scopes.iter().map(move |scope| item(self.grant(person, scope, time)))
    }

    /// What makes somebody what they are: grants of one who consents, or a
    /// refusal in every scope.
    pub fn recorded(&self, person: Person) -> Vec<ImportItem> {
        let scopes = self.scopes.iter().enumerate();
        let consented = scopes.filter(|(at, _)| Population::consents_in(person, *at));
        let Some(reason) = recorded_reason(person) else {
            return consented
                .map(|(_, scope)| item(self.grant(person, scope, CONSENTED_MS)))
                .collect();
        };
        let fixed = |event: ConsentEvent| ConsentEvent {
            consent_time: Some(StatedTime { unix_ms: CONSENTED_MS, ..Default::default() }),
            ..event
        };
        match reason {
            Reason::OptedOut => {
                let scopes = self.scopes.iter();
                scopes.map(|scope| item(fixed(self.withdrawal(person, Some(scope))))).collect()
            }
            Reason::ContactOptOut => vec![item(fixed(self.withdrawal(person, None)))],
            _ => {
                let suppression = Suppression {
                    brand: self.brand.clone(),
                    contact: Some(self.contact(person)),
                    reason: reason.into(),
                    since: Some(StatedTime { unix_ms: CONSENTED_MS, ..Default::default() }),
                    source: SOURCE.to_owned(),
                    ..Default::default()
                };
                let change = import_item::Change::Suppression(suppression);
                vec![ImportItem { change: Some(change) }]
            }
        }
    }

    /// A grant in a scope.
    pub fn grant(&self, person: Person, scope: &Scope, time: i64) -> ConsentEvent {
        ConsentEvent {
            status: ConsentStatus::Granted.into(),
            consent_time: Some(StatedTime { unix_ms: time, ..Default::default() }),
            ..self.event(person, Some(scope))
        }
    }

    /// A withdrawal in a scope, or of everything; it counts as of its recording.
    pub fn withdrawal(&self, person: Person, scope: Option<&Scope>) -> ConsentEvent {
        ConsentEvent { status: ConsentStatus::Withdrawn.into(), ..self.event(person, scope) }
    }

    fn event(&self, person: Person, scope: Option<&Scope>) -> ConsentEvent {
        ConsentEvent {
            brand: self.brand.clone(),
            contact: Some(self.contact(person)),
            recipient_type: scope.map(|scope| scope.recipient_type).unwrap_or_default(),
            channel: scope.map(|scope| scope.channel.clone()).unwrap_or_default(),
            purpose: scope.map(|scope| scope.purpose.clone()).unwrap_or_default(),
            source: SOURCE.to_owned(),
            ..Default::default()
        }
    }
}

fn item(event: ConsentEvent) -> ImportItem {
    ImportItem { change: Some(import_item::Change::Consent(event)) }
}
