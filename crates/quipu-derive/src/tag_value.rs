//! `#[derive(TagValue)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataStruct, DeriveInput, Error, Result};

use crate::attributes::refuse_generics;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    refuse_generics(input, "an id")?;
    let ident = &input.ident;
    let member = match &input.data {
        Data::Struct(DataStruct { fields, .. }) if fields.len() == 1 => fields.members().next(),
        Data::Struct(_) | Data::Enum(_) | Data::Union(_) => None,
    };
    let Some(member) = member else {
        let advice = format!(
            "`{ident}` does not hold one value: derive TagValue on `struct {ident}(String);`, or \
             implement it by hand"
        );
        return Err(Error::new(ident.span(), advice));
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::quipu::TagValue for #ident {
            fn tag_value(&self) -> ::std::borrow::Cow<'_, str> {
                ::quipu::TagValue::tag_value(&self.#member)
            }
        }
    })
}
