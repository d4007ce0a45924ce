"""A group of settings, of which the tree is made."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Section(BaseModel):
    """A group of settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    # settings that came when grids had already run, by which points are known: written only where they are
    # not at their default, so that those points stay what they are
    later: ClassVar[tuple[str, ...]] = ()
    # settings that say how a model learns, and change nothing about what it is afterwards
    of_training: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _later_ones_only_where_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: type(self).model_fields[name].default for name in self.later}
        return {
            name: value
            for name, value in write(self).items()
            if name not in defaults or value != defaults[name]
        }

    def plain(self) -> dict[str, Any]:
        """All settings as plain values, also those that are not written: two sections compare by it."""
        return {
            name: value.plain() if isinstance(value, Section) else ANY.dump_python(value, mode="json")
            for name, value in self
        }
