// A GPIO controller of the kind that gpio-amdpt drives, on one page of memory which the kernel leaves alone.
DefinitionBlock ("", "SSDT", 2, "EDGE", "GPIOTEST", 1)
{
  Scope (\_SB)
  {
    Device (PTG0)
    {
      Name (_HID, "AMDIF031")
      Name (_UID, Zero)
      Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadWrite, 0x1F000000, 0x1000) })
      Method (_STA, 0) { Return (0x0F) }
    }
  }
}
