//! `#[derive(EventSet)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Ident, Result, Type};

use crate::attributes::refuse_generics;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    refuse_generics(input, "a set of events")?;
    let Data::Enum(data) = &input.data else {
        let advice = format!(
            "`{}` is not an enum: a set has one variant for each event, as in \
             `enum AccountEvent {{ Opened(AccountOpened) }}`",
            input.ident
        );
        return Err(Error::new(input.ident.span(), advice));
    };
    let (variants, events) = variants(data)?;
    let ident = &input.ident;
    if events.is_empty() {
        let advice = format!("`{ident}` has no variants: a set has at least one event");
        return Err(Error::new(ident.span(), advice));
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::quipu::EventSet for #ident {
            const SHAPES: &'static [::quipu::EventShape] =
                &[#(<#events as ::quipu::Event>::SHAPE),*];

            fn decode(
                part: &::quipu::Part<'_>,
            ) -> ::core::option::Option<::core::result::Result<Self, ::quipu::DecodeProblem>> {
                #(
                    if part.event_type() == <#events as ::quipu::Event>::TYPE {
                        return ::core::option::Option::Some(
                            part.decode::<#events>().map(Self::#variants),
                        );
                    }
                )*
                ::core::option::Option::None
            }

            fn event_tags(&self) -> ::core::result::Result<::quipu::Tags, ::quipu::NameError> {
                match self {
                    #(Self::#variants(event) => ::quipu::Event::tags(event),)*
                }
            }

            fn event_stream(&self) -> ::core::result::Result<::quipu::StreamName, ::quipu::NameError> {
                match self {
                    #(Self::#variants(event) => ::quipu::Event::stream(event),)*
                }
            }
        }

        const _: () = ::quipu::__private::assert_distinct(
            <#ident as ::quipu::EventSet>::SHAPES,
        );

        #(
            #[automatically_derived]
            impl ::core::convert::From<#events> for #ident {
                fn from(event: #events) -> Self {
                    Self::#variants(event)
                }
            }
        )*
    })
}

/// The names of the variants, and the events that they hold.
fn variants(data: &DataEnum) -> Result<(Vec<&Ident>, Vec<&Type>)> {
    let mut variants = Vec::new();
    let mut events: Vec<&Type> = Vec::new();
    for variant in &data.variants {
        let field = match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first(),
            _ => None,
        };
        let Some(field) = field else {
            let advice = format!(
                "the variant `{0}` does not hold one event: write `{0}(EventStruct)`, and keep \
                 the fields in the struct",
                variant.ident
            );
            return Err(Error::new(variant.ident.span(), advice));
        };
        variants.push(&variant.ident);
        events.push(&field.ty);
    }
    Ok((variants, events))
}
